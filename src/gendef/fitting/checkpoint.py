"""The state from which an interrupted fit continues."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gendef.fitting.options import FitOptions
from gendef.media.footage import Scene
from gendef.runtime.resume_file import EVERY, ResumeFile

if TYPE_CHECKING:
    from gendef.fitting.illumination import Illumination
    from gendef.fitting.refinement import Refinement

log = logging.getLogger(__name__)

TENSORS = ("deviation", "canonical", "trust")
STATE_NAME = ".fit-state-layer{:02d}.safetensors"
FORMER_STATE_NAME = ".fit-state.safetensors"
"""Name of the state file in earlier versions of gendef; it is not read."""


@dataclass
class State:
    """A fit between two sweeps.

    Attributes:
        sweeps: number of sweeps so far.
        seconds: time spent so far.
        deviation, canonical, trust: of the `gendef.fitting.refinement.Refinement`.
        illumination: gains of the `gendef.fitting.illumination.Illumination`; None if it is not estimated.
    """

    sweeps: int
    seconds: float
    deviation: Tensor
    canonical: Tensor
    trust: Tensor
    illumination: Tensor | None = None

    @classmethod
    def of(
        cls, refinement: "Refinement", sweeps: int, seconds: float, illumination: "Illumination | None" = None
    ) -> "State":
        """The state of a refinement."""
        gains = illumination.gains if illumination else None
        return cls(sweeps, seconds, refinement.deviation, refinement.canonical, refinement.trust, gains)

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Tensors and numbers to save."""
        tensors = {name: getattr(self, name).contiguous() for name in TENSORS}
        if self.illumination is not None:
            tensors["illumination"] = self.illumination.contiguous()
        return tensors, {"sweeps": str(self.sweeps), "seconds": str(self.seconds)}

    @classmethod
    def unpacked(cls, tensors: dict[str, Tensor], numbers: dict[str, str]) -> "State":
        """The state from saved tensors and numbers."""
        deviation, canonical, trust = (tensors[name] for name in TENSORS)
        gains = tensors.get("illumination")
        return cls(int(numbers["sweeps"]), float(numbers["seconds"]), deviation, canonical, trust, gains)


class StateFile(ResumeFile[State]):
    """The saved state of one canonical image's fit; see `ResumeFile`."""

    def __init__(self, path: Path, job: dict[str, Any], every: float = EVERY) -> None:
        super().__init__(State, path, job, every)


class StateFolder:
    """The state files of one scene's fit, one for each layer of its clip.

    Args:
        folder: where they are.
        job: identifies the fit; see `fit_job`.
    """

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        self._folder, self._job = folder, job
        self._files: dict[int, StateFile] = {}
        self._former: list[str] = []
        if (folder / FORMER_STATE_NAME).exists():
            self._former.append(
                f"the saved state {FORMER_STATE_NAME} belongs to an earlier version of gendef: "
                "the fit started from the beginning"
            )
            log.warning("%s (in %s)", self._former[0], folder)

    def __call__(self, layer: int) -> StateFile:
        """The state file of a layer."""
        if layer not in self._files:
            path = self._folder / STATE_NAME.format(layer)
            self._files[layer] = StateFile(path, {**self._job, "part": layer})
        return self._files[layer]

    @property
    def warnings(self) -> list[str]:
        """Why existing state files were not used: damaged, of other options, or of an earlier version."""
        found = [text for file in self._files.values() for text in file.warnings]
        return self._former + found

    def remove(self) -> None:
        """Delete all of them."""
        for file in self._files.values():
            file.remove()


def fit_job(source: Path, scene: Scene, options: FitOptions, labels: Tensor | None) -> dict[str, Any]:
    """Plain values that differ between fits whose states must not be mixed up.

    Args:
        labels: (T, H, W), the masks of the scene.
    """
    job: dict[str, Any] = {
        "source": str(source.resolve()),
        "changed": source.stat().st_mtime_ns,
        "frames": [scene.numbers[0], scene.numbers[-1], len(scene.numbers)],
        "size": scene.frames[0].shape[:2],
        **options.result_settings(),
    }
    if labels is not None:
        job["masks"] = hashlib.sha256(labels.numpy().tobytes()).hexdigest()
    else:
        job["layers"] = options.layers
    if len(scene.frames) > options.segment:
        job["segment"] = options.segment
    return job
