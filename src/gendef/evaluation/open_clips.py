"""Opens clips by a name: data archive, folder of videos, saved clips, video file or model."""

from pathlib import Path

import torch

from gendef.errors import DataError, ModelError
from gendef.evaluation.clip_sets import ArchiveClips, ClipSet, ModelClips, SavedClips, VideoFiles
from gendef.model.hub import builtin_models
from gendef.video.clip_format import META


def open_clips(name: str, device: str | torch.device = "cpu") -> ClipSet:
    """The clips of `name`: a data archive, a folder of videos or clips, a video file, or a model (name or folder).

    Raises:
        DataError, ModelError, ClipError: it is none of them, or damaged.
    """
    path = Path(name)
    if path.is_file():
        return ArchiveClips(path) if path.suffix.lower() == ".zip" else VideoFiles(path)
    if path.is_dir():
        if (path / "config.json").is_file() and (path / "model.safetensors").is_file():
            return ModelClips(name, device)
        _refuse_run_folder(path)
        # The mp4 beside a saved clip is the same video once more, enlarged and compressed.
        saved = [path] if (path / META).is_file() else sorted(meta.parent for meta in path.glob(f"*/{META}"))
        return SavedClips(path, saved) if saved else VideoFiles(path)
    try:
        return ModelClips(name, device)
    except ModelError as error:
        known = ", ".join(builtin_models())
        raise DataError(f"{name} is no data archive, no folder of videos and no model (built in: {known})") from error


def _refuse_run_folder(path: Path) -> None:
    """Raise a DataError if `path` is the folder of a training run, whose previews are no videos to measure."""
    if not (path / "config.yaml").is_file() or not any((path / name).is_dir() for name in ("checkpoints", "previews")):
        return
    if (path / "model").is_dir():
        raise DataError(f"{path} is a training run; take {path / 'model'}")
    raise DataError(f"{path} is a training run that has no model of stage 2 yet: train it with --stage finetune")
