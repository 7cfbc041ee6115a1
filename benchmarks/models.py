"""What a model's videos are like beside the data it learned from: motion, smoothness, variety, folding.

    python benchmarks/models.py sky sky64.zip [--videos 32] [--json]

Motion is dense optical flow (OpenCV's DIS, finest scale) between neighbouring frames, by the same program for real and
generated clips; jerk is the change of that flow from one pair of frames to the next.
"""

import argparse
import itertools
import json

import numpy as np

from gendef.data import VideoArchive
from gendef.geometry import folded_share
from gendef.media.images import to_uint8
from gendef.model.gendef import GenDeF
from gendef.optical_flow.dis import dis_flow

FRAMES = 16


def motion(clip: np.ndarray) -> tuple[float, float]:
    """Mean speed in pixels a frame, and mean change of flow, of uint8 frames (T, H, W, 3)."""
    flow = dis_flow()
    flows = np.stack([flow(a, b) for a, b in itertools.pairwise(clip)])
    return float(np.linalg.norm(flows, axis=-1).mean()), float(np.linalg.norm(np.diff(flows, axis=0), axis=-1).mean())


def summary(clips: list[np.ndarray]) -> dict[str, float]:
    """Means over clips, and the mean difference between first frames of different clips (grey levels)."""
    speeds, jerks = zip(*(motion(clip) for clip in clips), strict=True)
    firsts = np.stack([clip[0] for clip in clips]).astype(np.float32)
    pairs = [np.abs(a - b).mean() for i, a in enumerate(firsts) for b in firsts[i + 1 :]]
    return {
        "speed": round(float(np.mean(speeds)), 3),
        "jerk": round(float(np.mean(jerks)), 3),
        "difference": round(float(np.mean(pairs)), 1),
    }


def real_clips(archive: VideoArchive, count: int) -> list[np.ndarray]:
    """`count` random stretches of consecutive frames."""
    rng = np.random.default_rng(0)
    lengths = np.array(archive.lengths, float)
    clips = []
    for number in rng.choice(archive.num_clips, count, p=lengths / lengths.sum()):
        first = int(rng.integers(max(archive.lengths[number] - FRAMES, 1)))
        indices = list(range(first, min(first + FRAMES, archive.lengths[number])))
        clips.append(archive.read_frames(int(number), indices).permute(0, 2, 3, 1).numpy())
    return clips


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("archive")
    parser.add_argument("--videos", type=int, default=32)
    parser.add_argument("--truncation", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model, archive = GenDeF.from_pretrained(options.model), VideoArchive(options.archive)
    videos = [model.sample(seed, FRAMES, truncation=options.truncation) for seed in range(options.videos)]
    real = summary(real_clips(archive, options.videos))
    fake = summary([to_uint8(video.render()) for video in videos])
    report = {
        "real": real,
        "generated": fake,
        "speed_ratio": round(fake["speed"] / real["speed"], 2),
        "folded": round(float(np.mean([folded_share(video.deformation) for video in videos])), 5),
        "field_pixels": round(
            float(np.mean([video.deformation.norm(dim=-1).mean() for video in videos])) * model.resolution / 2, 2
        ),
        "images_seen": model.info.get("images_seen"),
    }
    print(json.dumps(report) if options.json else "\n".join(f"{key:<13} {value}" for key, value in report.items()))


if __name__ == "__main__":
    main()
