"""The layers' fast paths on a CPU beside direct ones: times, and errors against float64.

    python benchmarks/fast_paths.py [--threads 1]

Sizes are those of the paper's networks at 256x256. Errors are the largest, over the standard deviation of the output.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from gendef.bench.reference import literal_path
from gendef.kernels.cpu.winograd_transposed import transform_transposed, transposed_conv2d
from torch import Tensor

from gendef.bench.machine import timed
from gendef.bench.sampling import SampledVideo
from gendef.kernels.cpu.winograd import convolve_transformed, transform_kernel, winograd_conv2d
from gendef.kernels.deformable import gathered, grid_sampled, tap_positions
from gendef.networks.canonical_generator import AliasFreeLayer, plan_layers
from gendef.networks.generator import Generator
from gendef.training.presets import preset

CPU = torch.device("cpu")
RUNS = 5


def seconds(run: Callable[[], object]) -> float:
    """Median, after one run to warm up."""
    run()
    return statistics.median(timed(run, CPU)[0] for _ in range(RUNS))


def show(name: str, direct: Callable[[], object], ours: Callable[[], object], errors: str = "") -> None:
    """One line."""
    first, second = seconds(direct), seconds(ours)
    print(f"{name:<44}{1e3 * first:>9.1f} ms{1e3 * second:>9.1f} ms{first / second:>7.2f} x  {errors}", flush=True)


def error(values: Tensor, exact: Tensor) -> float:
    return float((values - exact).abs().max() / exact.std())


def there_and_back(run: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], object]:
    """The values and the gradients by all inputs."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]

    def both() -> object:
        y = run(*leaves)
        return torch.autograd.grad(y, leaves, torch.ones_like(y))

    return both


def convolutions() -> None:
    """3x3, and transposed of stride 2."""
    for channels, side in ((512, 64), (256, 128), (128, 256)):
        x = torch.randn(1, channels, side, side).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3)
        kernel = transform_kernel(weight)
        exact = F.conv2d(x.double(), weight.double(), padding=1)
        ours, plain = convolve_transformed(x, kernel, 1), F.conv2d(x, weight, padding=1)
        said = f"errors {error(plain, exact):.1e} and {error(ours, exact):.1e}"
        name = f"3x3, {channels} channels, {side}x{side}"
        show(
            name,
            lambda x=x, w=weight: F.conv2d(x, w, padding=1),
            lambda x=x, k=kernel: convolve_transformed(x, k, 1),
            said,
        )
        batch = x.repeat(4, 1, 1, 1)
        show(
            name + ", 4 images, gradients",
            there_and_back(lambda x, w: F.conv2d(x, w, padding=1), batch, weight),
            there_and_back(lambda x, w: winograd_conv2d(x, w, 1), batch, weight),
        )
    for inputs, outputs, side in ((512, 512, 32), (512, 256, 64), (256, 128, 128)):
        x = torch.randn(4, inputs, side, side).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(outputs, inputs, 3, 3)
        kernels = transform_transposed(weight)
        show(
            f"transposed, {inputs} to {outputs}, 4 of {side}x{side}",
            lambda x=x, w=weight: F.conv_transpose2d(x, w.transpose(0, 1), stride=2),
            lambda x=x, k=kernels: transposed_conv2d(x, k),
        )


def filtered_activations() -> None:
    """StyleGAN3's filtered leaky ReLU in loops and by dense products."""
    plans = plan_layers(256, preset("sky256").generator.canonical)
    for index in (4, 8, 10, 12):
        before, after = plans[index - 1], plans[index]
        layer = AliasFreeLayer(before, after, 512, is_output=False, mtm=False, clamp=256.0).activation
        x = torch.randn(1, after.channels, len(layer.up_matrix[0]), len(layer.up_matrix[0]))
        x = x.contiguous(memory_format=torch.channels_last)

        def dense(x: Tensor = x, layer: torch.nn.Module = layer) -> Tensor:
            y = torch.matmul(torch.matmul(layer.up_matrix * layer.gain, x), layer.up_matrix.t())
            y = F.leaky_relu_(y, layer.slope).clamp_(-layer.clamp, layer.clamp)
            return torch.matmul(torch.matmul(layer.down_matrix, y), layer.down_matrix.t())

        show(f"filtered leaky ReLU, {after.channels} of {x.shape[-1]}", dense, lambda x=x, layer=layer: layer(x))


def gathers() -> None:
    """MTM's samples."""
    for batch, channels, side in ((1, 512, 38), (4, 576, 32)):
        x = torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last)
        y, column = tap_positions(torch.randn(batch, 18, side, side), 3, 1)
        masks = torch.rand(batch, 9, side, side)
        name = f"MTM, {batch} x {channels} of {side}x{side}"
        inputs = (x, y, column, masks)
        show(name, lambda i=inputs: grid_sampled(*i), lambda i=inputs: gathered(*i))
        show(name + ", gradients", there_and_back(grid_sampled, *inputs), there_and_back(gathered, *inputs))


def networks() -> None:
    """The canonical image beside the literal path's, and fields of one frame at a time beside those of four."""
    generator = Generator(preset("sky256").generator).eval()
    for name, parameter in generator.named_parameters():
        if "torgb" in name and name.endswith("conv.weight"):
            parameter.normal_(0, 0.05)  # fields start at zero, which would agree in any case
    video, times = SampledVideo(generator, 4, CPU), torch.arange(4.0)[None]
    content = video.content()
    motion = video.motion(content)
    together = generator.deform_at(motion, video.motion_noise, times)
    alone = [generator.deform_at(motion, video.motion_noise, times[:, t : t + 1]) for t in range(4)]
    with literal_path():
        literal = video.content()
    image = float((content.image - literal.image).abs().max())
    field = float((together - torch.cat(alone, dim=1)).abs().max())
    print(f"sky256: canonical image differs from the literal path's by {image:.1e} of {literal.image.abs().max():.2f};")
    print(f"fields of frames alone and of four together by {field:.1e} ({128 * field:.1e} pixels)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    print(f"{'':<44}{'direct':>12}{'ours':>12}")
    gathers()
    with torch.no_grad():
        filtered_activations()
        networks()
    convolutions()


if __name__ == "__main__":
    main()
