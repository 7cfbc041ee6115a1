"""What `make demo` runs: videos from the built-in models, an edit, tracks, and from a real video to a small training.

python scripts/demo.py --out demo [--train-minutes 2]
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "tests" / "data" / "clips" / "bigbuckbunny.mp4"


def gendef(*arguments: str) -> None:
    """Run one command of the program and show it."""
    print("\n$ gendef " + " ".join(arguments), flush=True)
    subprocess.run([sys.executable, "-m", "gendef", *arguments], check=True)


def main() -> None:
    """Generate, prepare, train, generate from what was trained; name the files to look at."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--train-minutes", type=float, default=2.0)
    options = parser.parse_args()
    from gendef.model.hub import builtin_models

    look = []
    for model in builtin_models():
        folder = options.out / model
        gendef("sample", model, "--seeds", "0-3", "--frames", "64", "--draw", "--out", str(folder))
        look += [folder / "sheet.png", folder / "seed0000.mp4", folder / "seed0000" / "canonical.png"]
    clip = options.out / builtin_models()[0] / "seed0000"
    gendef("edit", str(clip), "--filter", "hue:150", "--out", str(options.out / "edited"))
    gendef("track", str(clip), "--grid", "6", "--frame", "0", "--out", str(options.out / "tracks"))
    look += [options.out / "edited" / "before_after.mp4", options.out / "tracks" / "tracks.mp4"]
    archive, run = options.out / "bunny32.zip", options.out / "run"
    gendef("data", "prepare", str(CLIP), "--out", str(archive), "--resolution", "32", "--crops", "3")
    for stage in ("pretrain", "finetune"):
        gendef(
            "train", "--data", str(archive), "--preset", "tiny32", "--out", str(run), "--stage", stage,
            "--minutes", str(options.train_minutes / 2),
        )  # fmt: skip
    gendef("sample", str(run / "model"), "--seeds", "0-3", "--frames", "32", "--out", str(options.out / "trained"))
    look.append(options.out / "trained" / "sheet.png")
    print("\nLook at:")
    for path in look:
        print(f"  {path}")


if __name__ == "__main__":
    main()
