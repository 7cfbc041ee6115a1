"""Two runs of `gendef bench --out FILE` side by side.

python benchmarks/compare.py before.json after.json
"""

import argparse
import json
from pathlib import Path


def main() -> None:
    """Read both, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    before, after = (json.loads(path.read_text()) for path in (options.before, options.after))
    for name, report in (("before", before), ("after", after)):
        machine = report["machine"]
        print(
            f"{name:<7} {report['model']}, {report['frames']} frames of {report['resolution']}, {machine['processor']},"
            f" {machine['threads']} threads, torch {machine['torch']}, gendef {machine['gendef']}"
        )
    if any(before[key] != after[key] for key in ("resolution", "frames", "parameters")):
        raise SystemExit("the runs differ in resolution, frames or size of the model: there is nothing to compare")
    print(f"{'':<16}{'before':>10}{'after':>10}{'times faster':>14}")
    rows = {**{phase: (before["seconds"][phase], after["seconds"][phase]) for phase in before["seconds"]}}
    rows["in all"] = (before["total_seconds"], after["total_seconds"])
    rows["1 / matmul rate"] = (1 / before["matmul_gflops"], 1 / after["matmul_gflops"])
    for name, (first, second) in rows.items():
        print(f"{name:<16}{first:>10.4f}{second:>10.4f}{first / second:>14.2f}")


if __name__ == "__main__":
    main()
