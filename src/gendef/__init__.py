"""gendef: a video is one still image that moves.

Public names are imported on first use, so that `import gendef` costs nothing and a machine
without the optional packages can use the parts that do not need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gendef._version import __version__

_PUBLIC = {
    "CanonicalVideo": "gendef.video.canonical_video",
    "GenDeF": "gendef.model.gendef",
    "GendefError": "gendef.errors",
    "fit_video": "gendef.fitting.fit",
    "keep_freed_memory": "gendef.runtime.memory",
    "load_clip": "gendef.video.layered_video",
}
__all__ = ["CanonicalVideo", "GenDeF", "GendefError", "__version__", "fit_video", "keep_freed_memory", "load_clip"]

if TYPE_CHECKING:
    from gendef.errors import GendefError
    from gendef.fitting.fit import fit_video
    from gendef.model.gendef import GenDeF
    from gendef.runtime.memory import keep_freed_memory
    from gendef.video.canonical_video import CanonicalVideo
    from gendef.video.layered_video import load_clip


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'gendef' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
