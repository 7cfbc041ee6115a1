"""Reading images at pixel positions."""

from torch import Tensor

from gendef.geometry import identity_grid, sample, to_normalised, to_pixels


def pixel_grid(height: int, width: int) -> Tensor:
    """Pixel coordinates x and y, (2, H, W)."""
    return to_pixels(identity_grid(height, width), (height, width)).movedim(-1, 0).contiguous()


def look_up(image: Tensor, positions: Tensor) -> Tensor:
    """Read (C, H, W) bilinearly at pixel positions (2, h, w): (C, h, w)."""
    where = to_normalised(positions.movedim(0, -1), image.shape[1:])
    return sample(image[None], where[None])[0]
