"""gendef: a video is one still image that moves.

Public names are imported on first use, so that `import gendef` costs nothing and a machine
without the optional packages can use the parts that do not need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gendef._version import __version__

_PUBLIC = {
    # models
    "GenDeF": "gendef.model.gendef",
    "load_model": "gendef.model.baseline",
    # videos
    "Video": "gendef.video.base",
    "CanonicalVideo": "gendef.video.canonical_video",
    "LayeredVideo": "gendef.video.layered_video",
    "load_clip": "gendef.video.layered_video",
    "Tracks": "gendef.video.point_tracks",
    # from real videos and photographs
    "fit_video": "gendef.fitting.fit",
    "animate": "gendef.animation.animate",
    # metrics
    "davis": "gendef.metrics.davis",
    "frechet_distance": "gendef.metrics.frechet",
    "kernel_distance": "gendef.metrics.kernel_distance",
    "reconstruction": "gendef.metrics.image_quality",
    "tap_vid": "gendef.metrics.tapvid",
    "temporal": "gendef.metrics.temporal",
    # errors
    "GendefError": "gendef.errors",
    "CheckpointError": "gendef.errors",
    "ClipError": "gendef.errors",
    "CompilationError": "gendef.errors",
    "ConfigError": "gendef.errors",
    "DataError": "gendef.errors",
    "InputError": "gendef.errors",
    "MissingDependencyError": "gendef.errors",
    "ModelError": "gendef.errors",
    "TrainingError": "gendef.errors",
}
_SUBMODULES = ("interop",)
__all__ = [
    "CanonicalVideo",
    "CheckpointError",
    "ClipError",
    "CompilationError",
    "ConfigError",
    "DataError",
    "GenDeF",
    "GendefError",
    "InputError",
    "LayeredVideo",
    "MissingDependencyError",
    "ModelError",
    "Tracks",
    "TrainingError",
    "Video",
    "__version__",
    "animate",
    "davis",
    "fit_video",
    "frechet_distance",
    "interop",
    "kernel_distance",
    "load_clip",
    "load_model",
    "reconstruction",
    "tap_vid",
    "temporal",
]

if TYPE_CHECKING:
    from gendef import interop
    from gendef.animation.animate import animate
    from gendef.errors import (
        CheckpointError,
        ClipError,
        CompilationError,
        ConfigError,
        DataError,
        GendefError,
        InputError,
        MissingDependencyError,
        ModelError,
        TrainingError,
    )
    from gendef.fitting.fit import fit_video
    from gendef.metrics.davis import davis
    from gendef.metrics.frechet import frechet_distance
    from gendef.metrics.image_quality import reconstruction
    from gendef.metrics.kernel_distance import kernel_distance
    from gendef.metrics.tapvid import tap_vid
    from gendef.metrics.temporal import temporal
    from gendef.model.baseline import load_model
    from gendef.model.gendef import GenDeF
    from gendef.video.base import Video
    from gendef.video.canonical_video import CanonicalVideo
    from gendef.video.layered_video import LayeredVideo, load_clip
    from gendef.video.point_tracks import Tracks


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name in _SUBMODULES:
        return import_module(f"gendef.{name}")
    raise AttributeError(f"module 'gendef' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
