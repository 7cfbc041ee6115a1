"""Adaptive discriminator augmentation (Karras et al. 2020): blitting, geometry and colour, the same for a whole clip.

Every augmentation is applied with probability p. p rises while the discriminator overfits: while the mean sign of its
logits on real data (r_t of the paper, equation 1) is above a target. Resampling is linear in the image and has a second
derivative here, which R1 needs.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.geometry import identity_grid
from gendef.runtime.devices import sent
from gendef.training.distributed import SINGLE_PROCESS, Group


class AdaptiveAugment(nn.Module):
    """Augments clips with probability `p`, a buffer that `update` adjusts."""

    def __init__(self) -> None:
        super().__init__()
        self.p: Tensor
        self.sign_average: Tensor
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("sign_average", torch.zeros(()))

    @torch.no_grad()
    def update(self, sign_real: Tensor, images: int, target: float, images_to_one: int) -> None:
        """Raise p while the mean sign of real logits is above `target`, lower it otherwise.

        Args:
            sign_real: mean sign of this step's real logits; averaged over about eight steps.
            images: images of this step; p moves by images / images_to_one.
        """
        self.sign_average.lerp_(sign_real.to(self.sign_average), 1 / 8)
        direction = torch.sign(self.sign_average - target)
        self.p.add_(direction * (images / images_to_one)).clamp_(0, 1)

    def forward(self, video: Tensor, generator: torch.Generator, group: Group = SINGLE_PROCESS) -> Tensor:
        """Augment clips (B, T, 3, H, W) in [-1, 1]; the exact identity at p = 0.

        Args:
            video: this process's share of the batch.
            generator: CPU generator in the same state in all processes of `group`.
            group: the processes that share the batch.
        """
        p = float(self.p)
        draw = _Randomness(video.shape[0], p, generator, group)
        geometry, colour = _geometry(draw), _colour(draw)
        if p == 0:
            return video
        video = resample(video, sent(geometry, video.device).to(video.dtype))
        colour = sent(colour, video.device).to(video.dtype)
        mixed = torch.einsum("bij,btjhw->btihw", colour[:, :3, :3], video)
        return mixed + colour[:, None, :3, 3, None, None]


class _Randomness:
    """Random numbers for a share of the batch; each augmentation applies with probability p."""

    def __init__(self, batch: int, p: float, generator: torch.Generator, group: Group) -> None:
        self.batch, self.p, self.generator, self.group = batch, p, generator, group

    def uniform(self) -> Tensor:
        return torch.rand(self.batch * self.group.size, generator=self.generator)[self.group.share]

    def normal(self) -> Tensor:
        return torch.randn(self.batch * self.group.size, generator=self.generator)[self.group.share]

    def gate(self, value: Tensor, neutral: float, probability: float | None = None) -> Tensor:
        chosen = self.uniform() < (self.p if probability is None else probability)
        return torch.where(chosen, value, torch.full_like(value, neutral))


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _affine(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor) -> Tensor:
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    return _matrix([[a, b, c], [d, e, f], [zero, zero, one]])


def _rotation(angle: Tensor) -> Tensor:
    zero = torch.zeros_like(angle)
    return _affine(angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    zero = torch.zeros_like(x)
    return _affine(x, zero, zero, zero, y, zero)


def _shift(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _affine(one, zero, x, zero, one, y)


def _geometry(draw: _Randomness) -> Tensor:
    """Affine maps (B, 3, 3) from output to input, in normalised coordinates (appendix B of the paper)."""
    one = torch.ones(draw.batch)
    matrix = _scaling(draw.gate(1 - 2 * (draw.uniform() < 0.5).float(), 1.0), one)
    matrix = _rotation(draw.gate((draw.uniform() * 4).floor() * (math.pi / 2), 0.0)) @ matrix
    shift = [draw.gate((draw.uniform() * 2 - 1) * 0.25, 0.0) for _ in range(2)]
    matrix = _shift(*shift) @ matrix
    scale = draw.gate(torch.exp2(draw.normal() * 0.2), 1.0)
    matrix = _scaling(1 / scale, 1 / scale) @ matrix
    # Two rotations around the anisotropic scaling, so that together they occur with probability p.
    half = 1 - math.sqrt(1 - draw.p)
    matrix = _rotation(draw.gate((draw.uniform() * 2 - 1) * math.pi, 0.0, half)) @ matrix
    stretch = draw.gate(torch.exp2(draw.normal() * 0.2), 1.0)
    matrix = _scaling(1 / stretch, stretch) @ matrix
    matrix = _rotation(draw.gate((draw.uniform() * 2 - 1) * math.pi, 0.0, half)) @ matrix
    fraction = [draw.gate(draw.normal() * 0.25, 0.0) for _ in range(2)]
    return _shift(*fraction) @ matrix


def _colour(draw: _Randomness) -> Tensor:
    """Colour maps (B, 4, 4): brightness, contrast, luma flip, hue rotation, saturation."""
    eye = torch.eye(4).expand(draw.batch, 4, 4)
    axis = torch.tensor([1.0, 1.0, 1.0, 0.0]) / math.sqrt(3)
    luma = axis[:, None] * axis[None, :]
    matrix = eye.clone()
    matrix[:, :3, 3] = draw.gate(draw.normal() * 0.2, 0.0)[:, None]
    contrast = draw.gate(torch.exp2(draw.normal() * 0.5), 1.0)
    matrix = torch.diag_embed(torch.stack((contrast, contrast, contrast, torch.ones_like(contrast)), dim=-1)) @ matrix
    flip = draw.gate((draw.uniform() < 0.5).float(), 0.0)[:, None, None]
    matrix = (eye - 2 * luma * flip) @ matrix
    angle = draw.gate((draw.uniform() * 2 - 1) * math.pi, 0.0)[:, None, None]
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    hue = eye.clone()
    hue[:, :3, :3] = (
        angle.cos() * torch.eye(3) + angle.sin() * cross + (1 - angle.cos()) * luma[:3, :3]
    )  # Rodrigues' rotation around the grey axis
    matrix = hue @ matrix
    saturation = draw.gate(torch.exp2(draw.normal()), 1.0)[:, None, None]
    keeps = luma.clone()
    keeps[3, 3] = 1.0
    return (keeps + (eye - keeps) * saturation) @ matrix


def resample(video: Tensor, matrix: Tensor) -> Tensor:
    """Clips (B, T, C, H, W) sampled bilinearly at `matrix` (B, 3, 3) times the normalised pixel positions; reflection
    padding."""
    height, width = video.shape[-2:]
    grid = identity_grid(height, width, device=video.device, dtype=video.dtype)
    grid = torch.cat((grid, torch.ones_like(grid[..., :1])), dim=-1).reshape(1, -1, 3)
    where = grid @ matrix[:, :2].transpose(1, 2)  # (B, H * W, 2)
    x = _reflect(((where[..., 0] + 1) * width - 1) / 2, width)
    y = _reflect(((where[..., 1] + 1) * height - 1) / 2, height)
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1).reshape(-1, height, width, 2)
    return _GridSample.apply(video.flatten(1, 2), grid).reshape(video.shape)


class _GridSample(torch.autograd.Function):
    """grid_sample of images (B, C, H, W) whose gradient with respect to the images can be differentiated again.

    PyTorch's own backward pass of grid_sample has no derivative.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = image.shape
        return F.grid_sample(image, grid, padding_mode="border", align_corners=False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _GridSampleTranspose.apply(grad, grid, ctx.shape), None


class _GridSampleTranspose(torch.autograd.Function):
    """The transpose of `_GridSample`: adds each value to the pixels it was interpolated from."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        bilinear, border = 0, 1
        return torch.ops.aten.grid_sampler_2d_backward(
            values.contiguous(), values.new_zeros(shape), grid, bilinear, border, False, (True, False)
        )[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _GridSample.apply(grad, grid), None, None


def _reflect(position: Tensor, size: int) -> Tensor:
    """Pixel positions folded back into [0, size - 1], mirrored at the outer pixels' centres."""
    period = 2 * (size - 1)
    folded = position.remainder(period)
    return torch.where(folded > size - 1, period - folded, folded)
