"""Drawing training clips: a few frames at random distances (StyleGAN-V, section 3.2)."""

import queue
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gendef.data.archive import VideoArchive
from gendef.errors import ConfigError, DataError

HORIZON = 1024
"""Generated clips of training lie at times in [0, HORIZON)."""

_REAL, _GENERATED = 0, 1


def sample_clip_times(length: int, rng: np.random.Generator, num_frames: int = 3, max_distance: int = 32) -> np.ndarray:
    """Increasing frame indices in [0, length), int64 (num_frames,).

    The distance of the first and the last is uniform in [num_frames - 1, max_distance - 1], or as far as a shorter
    clip goes; the frames between them, and the place in the clip, are uniform.

    Raises:
        DataError: the clip has fewer than `num_frames` frames.
    """
    if length < num_frames:
        raise DataError(f"a clip of {length} frames has no {num_frames} different ones")
    if num_frames == 1:
        return rng.integers(length, size=1)
    span = int(rng.integers(num_frames - 1, min(max_distance, length)))
    between = rng.choice(span - 1, size=num_frames - 2, replace=False) + 1
    return int(rng.integers(length - span)) + np.sort(np.array([0, *between, span], np.int64))


@dataclass
class ClipBatch:
    """video uint8 (B, T, 3, R, R), times float32 (B, T) = frame indices in the clip, labels one-hot (B, C) or None."""

    video: Tensor
    times: Tensor
    labels: Tensor | None


class ClipStream:
    """Endless batches of clips; `batch(step)` depends on nothing but the seed, the step and the rank.

    Clips are drawn in proportion to their frames, those with fewer than `num_frames` never. With one frame per clip
    this is the image stream of stage 1. Clip i of a step's global batch is drawn from the seed (seed, step, i)
    alone, so that N ranks together see what one rank with an N times larger batch would.

    Args:
        archive: the data.
        batch_size: clips per batch, on this rank.
        seed: of all random numbers.
        num_frames: frames per clip.
        max_distance: the first and the last frame of a clip are less than this many frames apart.
        mirror: flip half of the clips left to right, all frames alike.
        clips: numbers of the clips to draw from; default all.
        rank, world_size: number of this process, and how many there are.

    Attributes:
        clips: numbers of the clips that are drawn from.
        num_dropped: how many others are too short.

    Raises:
        DataError: no clip has `num_frames` frames.
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        archive: VideoArchive,
        batch_size: int,
        seed: int,
        num_frames: int = 3,
        *,
        max_distance: int = 32,
        mirror: bool = True,
        clips: Sequence[int] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("num_frames", num_frames, 1),
            ("max_distance", max_distance, num_frames),
        ):
            if value < least:
                raise ConfigError(f"{name} must be at least {least}, got {value}")
        if max_distance > HORIZON:
            raise ConfigError(f"max_distance must be at most {HORIZON}, got {max_distance}")
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank must be in 0..{world_size - 1}, got {rank}")
        chosen = list(range(archive.num_clips)) if clips is None else list(clips)
        unknown = [clip for clip in chosen if not 0 <= clip < archive.num_clips]
        if unknown:
            raise ConfigError(f"clip {unknown[0]} does not exist; {archive.path} has {archive.num_clips}")
        self.clips = [clip for clip in chosen if archive.lengths[clip] >= num_frames]
        if not self.clips:
            longest = max((archive.lengths[clip] for clip in chosen), default=0)
            raise DataError(
                f"{archive.path}: no clip has {num_frames} frames, the longest has {longest}; prepare longer clips"
                " (a lower --stride, no --clip-frames), or train with --stage pretrain, which needs single frames"
            )
        self.num_dropped = len(chosen) - len(self.clips)
        self._ends = np.cumsum([archive.lengths[clip] for clip in self.clips])
        self.archive, self.batch_size, self.seed, self.num_frames = archive, batch_size, seed, num_frames
        self.max_distance, self.mirror, self.rank, self.world_size = max_distance, mirror, rank, world_size

    def _draw(self, step: int, purpose: int) -> list[tuple[np.random.Generator, int, np.ndarray]]:
        """For each clip of a batch its random generator, a clip number, and frame indices in that clip."""
        drawn = []
        for index in range(self.rank, self.batch_size * self.world_size, self.world_size):
            rng = np.random.default_rng((self.seed, step, index, purpose))
            row = int(rng.integers(self._ends[-1]))
            clip = self.clips[int(np.searchsorted(self._ends, row, side="right"))]
            length = self.archive.lengths[clip]
            drawn.append((rng, clip, sample_clip_times(length, rng, self.num_frames, self.max_distance)))
        return drawn

    def batch(self, step: int) -> ClipBatch:
        """The real clips of training step `step`."""
        drawn = self._draw(step, _REAL)
        videos = []
        for rng, clip, indices in drawn:
            frames = self.archive.read_frames(clip, indices.tolist())
            videos.append(frames.flip(-1) if self.mirror and rng.random() < 0.5 else frames)
        times = torch.from_numpy(np.stack([indices for _, _, indices in drawn]).astype(np.float32))
        labels = None
        if self.archive.labels is not None:
            classes = torch.tensor([self.archive.labels[clip] for _, clip, _ in drawn])
            labels = torch.nn.functional.one_hot(classes, self.archive.num_classes).float()
        return ClipBatch(torch.stack(videos), times, labels)

    def sample_times(self, step: int) -> Tensor:
        """Times for the generated clips of step `step`, float32 (B, T).

        Their distances are drawn like the real clips', short clips included; the first time is uniform in
        [0, HORIZON - span), for a generated video has no end.
        """
        rows = []
        for rng, _, indices in self._draw(step, _GENERATED):
            distances = indices - indices[0]
            rows.append(distances + rng.integers(HORIZON - int(distances[-1])))
        return torch.from_numpy(np.stack(rows).astype(np.float32))

    def iterate(self, first_step: int, ahead: int = 4) -> Generator[ClipBatch, None, None]:
        """Batches of `first_step`, `first_step + 1`, ..., up to `ahead` of them read beforehand by a thread.

        An error in the thread is raised here; closing the iterator ends the thread.
        """
        ready: queue.Queue[ClipBatch | BaseException] = queue.Queue(ahead)
        stop = threading.Event()

        def put(item: ClipBatch | BaseException) -> None:
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.1)
                except queue.Full:
                    continue
                return

        def work() -> None:
            step = first_step
            try:
                while not stop.is_set():
                    put(self.batch(step))
                    step += 1
            except BaseException as error:
                put(error)

        thread = threading.Thread(target=work, daemon=True, name="clip reader")
        thread.start()
        try:
            while True:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            thread.join()
