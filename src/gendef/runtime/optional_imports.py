"""OpenCV, which several extras bring: imported where it is used, with an error that says how to get it."""

from typing import Any

from gendef.errors import MissingDependencyError


def import_cv2(extra: str, purpose: str) -> Any:
    """The module cv2.

    Args:
        extra: the gendef extra that brings it.
        purpose: what it is needed for, as in "to fit a video".

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError("opencv-python-headless", extra, purpose) from error
    return cv2
