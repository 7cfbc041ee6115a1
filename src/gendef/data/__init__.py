"""Reading any video source, preparing data archives, drawing training clips.

What needs torch is imported on first use: the worker processes of `prepare` do without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gendef.data.extract import PrepareConfig
from gendef.data.prepare import prepare

_WITH_TORCH = {
    "ClipBatch": "gendef.data.clips",
    "ClipStream": "gendef.data.clips",
    "VideoArchive": "gendef.data.archive",
}
__all__ = ["ClipBatch", "ClipStream", "PrepareConfig", "VideoArchive", "prepare"]

if TYPE_CHECKING:
    from gendef.data.archive import VideoArchive
    from gendef.data.clips import ClipBatch, ClipStream


def __getattr__(name: str) -> Any:
    if name in _WITH_TORCH:
        return getattr(import_module(_WITH_TORCH[name]), name)
    raise AttributeError(f"module 'gendef.data' has no attribute {name!r}")
