"""Values that several commands read from their arguments."""

import re

from gendef.errors import InputError

MAX_SEEDS = 100_000


def parse_seeds(text: str) -> list[int]:
    """Seeds from a list such as "0-3,7".

    Raises:
        InputError: not of that form, or very many.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None:
            raise InputError(f"seeds must look like 0-15 or 1,5,9, got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= MAX_SEEDS:
            raise InputError(f"the range {part.strip()} of seeds is empty or too long")
        seeds.extend(range(first, last + 1))
    return seeds
