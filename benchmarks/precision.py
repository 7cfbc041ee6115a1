"""How far videos with 16-bit feature maps are from those in float32.

    python benchmarks/precision.py sky driving [--seeds 8] [--frames 16] [--json]

Root mean squares in grey levels, distances of fields in pixels. Jitter is the change of a field's difference from frame
to frame; beside it the speed of the field itself.
"""

import argparse
import json

from gendef.model.gendef import GenDeF
from gendef.runtime.precision import PRECISIONS
from gendef.video.canonical_video import CanonicalVideo


def differences(exact: CanonicalVideo, rounded: CanonicalVideo) -> dict[str, float]:
    """What is printed, of one video."""
    pixels = exact.deformation.shape[1] / 2
    apart = (rounded.deformation - exact.deformation) * pixels
    return {
        "canonical_levels": float(((exact.canonical - rounded.canonical) * 127.5).square().mean().sqrt()),
        "frames_levels": float(((exact.render() - rounded.render()) * 127.5).square().mean().sqrt()),
        "field_pixels": float(apart.norm(dim=-1).mean()),
        "jitter_pixels": float(apart.diff(dim=0).norm(dim=-1).mean()),
        "speed_pixels": float((exact.deformation.diff(dim=0) * pixels).norm(dim=-1).mean()),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for name in options.models:
        model = GenDeF.from_pretrained(name)
        exact = [model.sample(seed, options.frames) for seed in range(options.seeds)]
        for precision in ("bfloat16", "float16"):
            model.generator.compute_dtype = PRECISIONS[precision]
            found = [differences(video, model.sample(seed, options.frames)) for seed, video in enumerate(exact)]
            means = {key: round(sum(one[key] for one in found) / len(found), 4) for key in found[0]}
            report = {"model": name, "precision": precision, **means}
            print(json.dumps(report) if options.json else "  ".join(f"{key} {value}" for key, value in report.items()))


if __name__ == "__main__":
    main()
