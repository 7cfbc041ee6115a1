"""Points and boxes that commands read from their arguments or from files."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from gendef.errors import InputError


def parse_numbers(text: str, count: int, form: str) -> list[float]:
    """Numbers with commas between them.

    Raises:
        InputError: not `count` finite numbers; the message says that they must look like `form`.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise InputError(f"expected {form}, got {text!r}")
    return numbers


def parse_points(texts: Sequence[str]) -> list[tuple[float, float]]:
    """Points such as "10,20".

    Raises:
        InputError: not of that form.
    """
    points = []
    for text in texts:
        x, y = parse_numbers(text, 2, "points as x,y such as 10,20.5")
        points.append((x, y))
    return points


def read_points(path: Path) -> list[tuple[float, float]]:
    """Points of a file, from its columns x and y, or from its first two columns if it has no header.

    Raises:
        InputError: the file is missing, is no text, or holds no points.
    """
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (UnicodeDecodeError, csv.Error, IsADirectoryError):
        raise InputError(f"{path} is not a text file of points, x,y in a line") from None
    columns = (0, 1)
    heading = [name.strip().lower() for name in rows[0]] if rows else []
    if "x" in heading and "y" in heading:
        columns, rows = (heading.index("x"), heading.index("y")), rows[1:]
    if not rows:
        raise InputError(f"{path} holds no points")
    try:
        return [(float(row[columns[0]]), float(row[columns[1]])) for row in rows]
    except (ValueError, IndexError):
        raise InputError(f"{path} must hold x,y in a line") from None
