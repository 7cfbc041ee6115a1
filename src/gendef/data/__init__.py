"""Reading any video source, preparing data archives, drawing training clips.

Names are imported on first use: the worker processes of `prepare` need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "ClipBatch": "gendef.data.clips",
    "ClipStream": "gendef.data.clips",
    "PrepareConfig": "gendef.data.extract",
    "VideoArchive": "gendef.data.archive",
    "prepare": "gendef.data.prepare",
}
__all__ = ["ClipBatch", "ClipStream", "PrepareConfig", "VideoArchive", "prepare"]

if TYPE_CHECKING:
    from gendef.data.archive import VideoArchive
    from gendef.data.clips import ClipBatch, ClipStream
    from gendef.data.extract import PrepareConfig
    from gendef.data.prepare import prepare


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'gendef.data' has no attribute {name!r}")
