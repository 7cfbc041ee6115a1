"""Every kernel beside its plain form: end to end, or as a single operation with its error against float64.

    python benchmarks/kernels.py sample [--frames 3] [--rounds 3] [--threads 1]   # a video of sky256
    python benchmarks/kernels.py train [--rounds 2]                               # stage 1 of sky256, one image a step
    python benchmarks/kernels.py operations

Networks have the paper's size (preset sky256) and random weights. `sample` and `train` take turns: all fast forms, then
one kernel after the other in its plain form, then all plain; ratios are of medians, of wall time and of processor time.
The latter is what counts on a machine with other work. A kernel that gains less than 1.3 times in both is not kept.
"""

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gendef.bench.machine import timed
from gendef.bench.sampling import SampledVideo
from gendef.kernels.convolution import conv2d
from gendef.kernels.deformable import sampled_columns, tap_positions
from gendef.kernels.registry import Kernel, kernels, plain_forms
from gendef.networks.canonical_config import plan_layers
from gendef.networks.canonical_generator import AliasFreeLayer
from gendef.networks.generator import Generator
from gendef.runtime.memory import keep_freed_memory
from gendef.training.presets import preset

CPU = torch.device("cpu")
PRESET = "sky256"
RUNS = 5


def sampling(frames: int) -> Callable[[], object]:
    """A function that samples a video."""
    video = SampledVideo(Generator(preset(PRESET).generator).eval().requires_grad_(False), frames, CPU)

    def run() -> object:
        with torch.no_grad():
            return video.fields(video.motion(video.content()), frames)

    return run


def training() -> Callable[[], object]:
    """A function that makes one step of stage 1 with one image."""
    sys.path.insert(0, str(Path(__file__).parent))
    from train import prepared, synthetic

    stage = prepared(preset(PRESET), "pretrain", CPU, batch=1)
    batch, times = synthetic(stage)
    return lambda: float(stage.step(batch, times)["loss_d"])


def end_to_end(run: Callable[[], object], rounds: int) -> None:
    """Print medians and ratios for every kernel."""
    variants = {"all fast": contextlib.nullcontext}
    variants |= {f"{name} plain": (lambda name=name: plain_forms(name)) for name in kernels()}
    variants["all plain"] = plain_forms
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    run()
    for _ in range(rounds):
        for name, context in variants.items():
            with context():
                wall, processor = time.perf_counter(), time.process_time()
                run()
                spent[name].append((time.perf_counter() - wall, time.process_time() - processor))
    base = [statistics.median(values) for values in zip(*spent["all fast"], strict=True)]
    print(f"{'':<32}{'wall':>10}{'ratio':>8}{'processor':>12}{'ratio':>8}")
    for name, values in spent.items():
        wall, processor = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"{name:<32}{wall:>8.2f} s{wall / base[0]:>8.2f}{processor:>10.2f} s{processor / base[1]:>8.2f}")


def show(name: str, kernel: Kernel, *inputs: object, gradients: bool = False) -> None:
    """One line: seconds of both forms, and the fast form's error."""

    def seconds(function: Callable[..., Tensor]) -> float:
        def both() -> object:
            if not gradients:
                return function(*inputs)
            leaves = [x.detach().requires_grad_() if isinstance(x, Tensor) else x for x in inputs]
            y = function(*leaves)
            return torch.autograd.grad(y, [x for x in leaves if isinstance(x, Tensor)], torch.ones_like(y))

        both()
        return statistics.median(timed(both, CPU)[0] for _ in range(RUNS))

    plain, fast = seconds(kernel.plain), seconds(kernel)
    with torch.no_grad():
        exact = kernel.plain(*(x.double() if isinstance(x, Tensor) else x for x in inputs))
        error = float((kernel(*inputs) - exact).abs().max() / exact.std())
    print(f"{name:<48}{1e3 * plain:>9.1f} ms{1e3 * fast:>9.1f} ms{plain / fast:>7.2f} x  {error:.1e}", flush=True)


def operations() -> None:
    """Single operations at sizes of the paper's networks."""
    print(f"{'':<48}{'plain':>12}{'fast':>12}  ratio  largest error over deviation")
    for channels, side in ((512, 64), (256, 128), (128, 256)):
        x = torch.randn(1, channels, side, side).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3)
        with torch.no_grad():
            show(f"3x3, {channels} channels, {side}x{side}", conv2d, x, weight, 1)
        show(f"3x3, {channels} channels, {side}x{side}, gradients", conv2d, x, weight, 1, gradients=True)
    plans = plan_layers(256, preset(PRESET).generator.canonical)
    for index in (4, 8, 10, 12):
        before, after = plans[index - 1], plans[index]
        layer = AliasFreeLayer(before, after, 512, is_output=False, mtm=False, clamp=256.0).activation
        side = layer.up_matrix.shape[1]
        x = torch.randn(1, after.channels, side, side).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            own = layer.up_matrix, layer.down_matrix, layer.gain, layer.slope, layer.clamp
            show(f"filtered leaky ReLU, {after.channels} of {side}x{side}", kernels()["filtered_leaky_relu"], x, *own)
    for batch, channels, side in ((1, 512, 38), (4, 576, 32)):
        x = torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last)
        places = tap_positions(torch.randn(batch, 18, side, side), 3, 1)
        masks = torch.rand(batch, 9, side, side)
        name = f"MTM's samples, {batch} x {channels} of {side}x{side}"
        with torch.no_grad():
            show(name, sampled_columns, x, *places, masks)
        show(name + ", gradients", sampled_columns, x, *places, masks, gradients=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sample", "train", "operations"))
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    keep_freed_memory()  # as the program does
    if options.what == "operations":
        operations()
    else:
        end_to_end(sampling(options.frames) if options.what == "sample" else training(), options.rounds)


if __name__ == "__main__":
    main()
