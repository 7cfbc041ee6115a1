"""Reading any video source, preparing data archives, drawing training clips."""

from gendef.data.archive import VideoArchive
from gendef.data.clips import ClipBatch, ClipStream
from gendef.data.prepare import PrepareConfig, prepare

__all__ = ["ClipBatch", "ClipStream", "PrepareConfig", "VideoArchive", "prepare"]
