"""Train the rows of a suite under an equal budget and measure them; resumable at any moment."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendef.errors import ConfigError
from gendef.evaluation.sampling import Sampling
from gendef.experiments.suites import Row
from gendef.runtime.atomic_file import replacing
from gendef.runtime.devices import choose_device
from gendef.training.checkpoint import checkpoint_paths
from gendef.training.config import TrainConfig
from gendef.training.run_options import RunOptions
from gendef.training.trainer import Trainer

PRETRAINED = "stage1"
"""Folder of the stage 1 that rows share."""


@dataclass(frozen=True)
class Budget:
    """Training budget of a row, in seconds as `Stage.seconds` counts them: processor seconds on a CPU."""

    pretrain: float
    finetune: float

    def __post_init__(self) -> None:
        if min(self.pretrain, self.finetune) <= 0:
            raise ConfigError(f"a budget must be positive, got {self.pretrain} and {self.finetune} seconds")

    def of(self, row: Row) -> dict[str, float]:
        """Seconds of each stage of a row: without stage 1, its seconds go to stage 2."""
        if row.pretrains:
            return {"pretrain": self.pretrain, "finetune": self.finetune}
        return {"finetune": self.pretrain + self.finetune}


def train_row(
    row: Row,
    base: TrainConfig,
    data: Path,
    out: Path,
    budget: Budget,
    device: str = "auto",
    micro_batch: int | None = None,
) -> dict[str, Any]:
    """Train one row into `out`/NAME, or continue it; a row that is complete is left alone.

    A row that had a smaller budget for stage 2 goes on from where it is, and its measurements are dropped.

    Args:
        base: the configuration whose stage 1 the rows share.
        micro_batch: samples that are computed at once; another number of them continues the same training.

    Returns:
        Images and clips seen, and seconds of each stage.

    Raises:
        ConfigError: the row was trained under a larger budget, or another one for stage 1.
        Stopped: asked to stop; the state is saved.
    """
    folder = out / row.name
    done = folder / "row.json"
    seconds = budget.of(row)
    if done.exists():
        facts = json.loads(done.read_text())
        if facts["budget"] == seconds:
            return facts
        _check_extends(row.name, facts["budget"], seconds, out)
        for old in (done, *(folder / f"{measure.name}.json" for measure in MEASURES)):
            old.unlink(missing_ok=True)
    stages = ("finetune",)
    if row.pretrains and not checkpoint_paths(folder / "checkpoints", "pretrain"):
        _share_stage1(base, data, out, row.name, budget, device, micro_batch)
    options = RunOptions(folder, stages, device=device, seconds=seconds, micro_batch=micro_batch)
    trainer = Trainer(row.config, data, options)
    trainer.run()
    stage = trainer.build("finetune")
    facts = {"row": row.name, "clips": stage.images_seen, "seconds": round(stage.seconds, 1), "budget": seconds}
    if row.pretrains:
        facts["pretraining"] = json.loads((out / PRETRAINED / "stage1.json").read_text())
    with replacing(done) as temporary:
        temporary.write_text(json.dumps(facts, indent=1))
    return facts


def _check_extends(row: str, before: dict[str, float], now: dict[str, float], out: Path) -> None:
    """Raise a ConfigError unless `now` continues a training of budget `before`."""
    if before.get("pretrain") != now.get("pretrain") or before["finetune"] > now["finetune"]:
        raise ConfigError(
            f"row {row} in {out} was trained for {_minutes(before)} minutes and cannot become one of {_minutes(now)};"
            " give that budget, or another --out"
        )


def _minutes(seconds: dict[str, float]) -> str:
    return " and ".join(f"{value / 60:g} ({stage})" for stage, value in seconds.items())


def _share_stage1(
    base: TrainConfig, data: Path, out: Path, row: str, budget: Budget, device: str, micro_batch: int | None
) -> None:
    """Train the shared stage 1 if needed, and copy its last checkpoint into the folder of `row`."""
    folder, done = out / PRETRAINED, out / PRETRAINED / "stage1.json"
    seconds = {"pretrain": budget.pretrain}
    options = RunOptions(folder, ("pretrain",), device=device, seconds=seconds, micro_batch=micro_batch)
    trainer = Trainer(base, data, options)
    if not done.exists():
        trainer.run()
        stage = trainer.build("pretrain")
        with replacing(done) as temporary:
            temporary.write_text(json.dumps({"images": stage.images_seen, "seconds": round(stage.seconds, 1)}))
    source = checkpoint_paths(trainer.checkpoints, "pretrain")[-1]
    target = out / row / "checkpoints" / source.name
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


@dataclass(frozen=True)
class Measure:
    """One column of the table.

    Attributes:
        name: of the file and the column.
        frames, stride: of the clips.
        detector: whose features are compared.
    """

    name: str
    frames: int
    stride: int
    detector: str


MEASURES = (
    Measure("fvd16", 16, 1, "i3d"),
    Measure("fvd128", 128, 1, "i3d"),
    Measure("fvd16x8", 16, 8, "i3d"),
    Measure("fid", 1, 1, "efficientnet-lite0"),
)


@dataclass(frozen=True)
class EvaluationSpec:
    """The real clips that rows are compared with, and how both sides are sampled.

    Attributes:
        real: data archive or folder of videos.
        count, clips_per_video: clips of each side, and from each real video.
        seeds: which draw other clips and other generated videos.
        weights: of I3D.
        cache: folder of features.
        device: of networks.
    """

    real: Path
    count: int
    clips_per_video: int
    seeds: Sequence[int]
    weights: Path | None = None
    cache: Path | None = None
    device: str = "auto"


def _same_protocol(path: Path, sampling: Sampling, seeds: Sequence[int]) -> bool:
    """Whether `path` is a report with the same sampling and seeds."""
    if not path.exists():
        return False
    report = json.loads(path.read_text())
    return bool(report["sampling"] == sampling.facts() and report["seeds"] == list(seeds))


def measure_row(
    folder: Path, measures: Sequence[Measure], spec: EvaluationSpec, on_clip: Callable[[int], None] = lambda count: None
) -> dict[str, Any]:
    """Distances of the model in a row's folder to real clips. Reports by the same protocol are kept.

    For stage 1 (a folder with `pretrained` instead of `model`) the canonical images are measured, as single frames.

    Returns:
        The reports, by name of the measure; also written as NAME.json into the folder.
    """
    from gendef.evaluation.clip_sets import CanonicalImages
    from gendef.evaluation.detectors import Detector, find_detector
    from gendef.evaluation.fvd import compare
    from gendef.evaluation.open_clips import open_clips
    from gendef.evaluation.report import to_json

    device, videos = choose_device(spec.device), (folder / "model").is_dir()
    reports: dict[str, Any] = {}
    for measure in measures:
        path = folder / f"{measure.name}.json"
        if measure.frames > 1 and not videos:
            continue
        per_video = 0 if measure.frames == 1 else spec.clips_per_video
        sampling = Sampling(measure.frames, measure.stride, per_video, spec.count)
        if not _same_protocol(path, sampling, spec.seeds):
            weights = spec.weights if measure.detector == "i3d" else None
            detector = Detector(find_detector(measure.detector), weights, device)
            name = str(folder / ("model" if videos else "pretrained"))
            fake = open_clips(name, device) if videos else CanonicalImages(name, device)
            real = open_clips(str(spec.real), device)
            report = compare(fake, real, detector, sampling, spec.seeds, cache=spec.cache, on_clip=on_clip)
            with replacing(path) as temporary:
                temporary.write_text(to_json(report.to_dict()))
        reports[measure.name] = json.loads(path.read_text())
    return reports
