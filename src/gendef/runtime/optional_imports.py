"""OpenCV, an optional package: imported at its use; the error names the extra to install."""

from typing import Any

from gendef.errors import MissingDependencyError


def import_cv2(extra: str, purpose: str) -> Any:
    """The module cv2.

    Args:
        extra: the gendef extra that installs it.
        purpose: its use, such as "to fit a video".

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError("opencv-python-headless", extra, purpose) from error
    return cv2
