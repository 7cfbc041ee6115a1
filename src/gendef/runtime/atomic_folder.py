"""Folders that are replaced as a whole, and files that appear in a folder together or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gendef.errors import InputError


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder to write into; its files move to `folder` if the block succeeds, and are removed if it fails.

    A subfolder takes the place of one of the same name; everything else in `folder` stays.

    Raises:
        InputError: `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder")
    temporary = folder / f".{os.getpid()}.tmp"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for new in temporary.iterdir():
            old = folder / new.name
            if new.is_dir() and old.is_dir():
                shutil.rmtree(old)
            os.replace(new, old)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def temporary_beside(folder: Path) -> Path:
    """A new, empty folder beside `folder`, in which a writer works until it calls `replace_folder`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    return temporary


def replace_folder(new: Path, target: Path) -> None:
    """Replace `target` by a finished folder; the old one is deleted only after the new one is in place."""
    if not target.exists():
        new.rename(target)
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)
