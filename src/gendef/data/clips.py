"""Drawing training clips: a few frames at random distances (StyleGAN-V, section 3.2), the same for a seed and a step."""

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gendef.data.archive import VideoArchive
from gendef.errors import DataError

HORIZON = 1024
"""Generated videos are sampled at times in [0, HORIZON)."""


def sample_clip_times(length: int, rng: np.random.Generator, num_frames: int = 3, max_distance: int = 32) -> np.ndarray:
    """Increasing frame indices in [0, length), (num_frames,).

    The whole span is uniform in [num_frames - 1, max_distance - 1], or less in a shorter clip; the frames between
    the first and the last are uniform without repetition.

    Raises:
        ValueError: the clip has fewer than `num_frames` frames.
    """
    if length < num_frames:
        raise ValueError(f"a clip of {length} frames has no {num_frames} different ones")
    if num_frames == 1:
        return rng.integers(length, size=1)
    span = int(rng.integers(num_frames - 1, min(max_distance, length)))
    between = rng.choice(span - 1, size=num_frames - 2, replace=False) + 1 if num_frames > 2 else []
    first = int(rng.integers(length - span))
    return first + np.sort(np.array([0, *between, span]))


@dataclass
class ClipBatch:
    """video uint8 (B, T, 3, R, R), times float32 (B, T) in frames, labels one-hot (B, classes) or None."""

    video: Tensor
    times: Tensor
    labels: Tensor | None


class ClipStream:
    """Endless batches of clips; `batch(step)` depends on nothing but the seed, the step and the rank.

    Clips are drawn in proportion to their length. With one frame a clip this is the image stream of stage 1.

    Args:
        archive: the data.
        batch_size: clips a batch, on this rank.
        seed: of everything random.
        num_frames: frames a clip.
        max_distance: frames from the first to the last of a clip are fewer than this.
        mirror: flip half of the clips left to right.
        clips: numbers of the clips to draw from; default all.
        rank, world_size: different ranks draw different clips.

    Raises:
        DataError: no clip has `num_frames` frames.
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
        chosen = range(archive.num_clips) if clips is None else clips
        self.clips = [clip for clip in chosen if archive.lengths[clip] >= num_frames]
        if not self.clips:
            longest = max((archive.lengths[clip] for clip in chosen), default=0)
            raise DataError(
                f"{archive.path}: no clip has {num_frames} frames (the longest has {longest});"
                " prepare longer clips, or train with --stage pretrain, which needs single frames"
            )
        self.num_dropped = len(list(chosen)) - len(self.clips)
        weights = np.array([archive.lengths[clip] for clip in self.clips], np.float64)
        self._weights = weights / weights.sum()
        self.archive, self.batch_size, self.seed, self.num_frames = archive, batch_size, seed, num_frames
        self.max_distance, self.mirror, self.rank, self.world_size = max_distance, mirror, rank, world_size

    def _rng(self, step: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, step * self.world_size + self.rank, purpose])

    def batch(self, step: int) -> ClipBatch:
        """The real clips of training step `step`."""
        rng = self._rng(step, 0)
        numbers = rng.choice(len(self.clips), size=self.batch_size, p=self._weights)
        videos, times = [], []
        for number in numbers:
            clip = self.clips[number]
            indices = sample_clip_times(self.archive.lengths[clip], rng, self.num_frames, self.max_distance)
            frames = self.archive.read_frames(clip, indices.tolist())
            videos.append(frames.flip(-1) if self.mirror and rng.random() < 0.5 else frames)
            times.append(torch.from_numpy(indices.astype(np.float32)))
        labels = None
        if self.archive.labels is not None:
            classes = torch.tensor([self.archive.labels[self.clips[number]] for number in numbers])
            labels = torch.nn.functional.one_hot(classes, self.archive.num_classes).float()
        return ClipBatch(torch.stack(videos), torch.stack(times), labels)

    def sample_times(self, step: int) -> Tensor:
        """Times for generated clips of step `step`: distances drawn like the real ones', (B, T) float32."""
        rng = self._rng(step, 1)
        longest = max(self.archive.lengths[clip] for clip in self.clips)
        rows = []
        for _ in range(self.batch_size):
            times = sample_clip_times(longest, rng, self.num_frames, self.max_distance)
            times = times - times[0]
            rows.append(times + rng.integers(HORIZON - int(times[-1])))
        return torch.from_numpy(np.stack(rows).astype(np.float32))

    def iterate(self, first_step: int, ahead: int = 4) -> Iterator[ClipBatch]:
        """Batches of `first_step`, `first_step + 1`, ..., read ahead in a thread.

        An error in the thread is raised here; closing the iterator ends the thread.
        """
        ready: queue.Queue[ClipBatch | BaseException] = queue.Queue(ahead)
        stop = threading.Event()

        def put(item: ClipBatch | BaseException) -> None:
            while not stop.is_set():
                try:
                    return ready.put(item, timeout=0.1)
                except queue.Full:
                    continue

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
