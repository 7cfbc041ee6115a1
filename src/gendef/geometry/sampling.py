"""Reading images at pixel positions."""

from torch import Tensor

from gendef.geometry.coordinates import identity_grid, sample, to_normalised, to_pixels


def pixel_grid(height: int, width: int) -> Tensor:
    """Pixel coordinates x and y, (2, H, W)."""
    return to_pixels(identity_grid(height, width), (height, width)).movedim(-1, 0).contiguous()


def look_up(image: Tensor, positions: Tensor) -> Tensor:
    """Read (C, H, W) bilinearly at pixel positions (2, h, w): (C, h, w)."""
    where = to_normalised(positions.movedim(0, -1), image.shape[1:])
    return sample(image[None], where[None])[0]


def bilinear_cell(coordinate: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The two pixels along one axis between which bilinear interpolation reads.

    Args:
        coordinate: pixel coordinates along the axis, of any shape; clamped to the outer pixel centres (border padding).
        length: pixels of the axis.

    Returns:
        Number of the first of the two pixels, as float, and the weight of the second in [0, 1]. The first is at most
        `length - 2` (0 for one pixel), so that the last centre has weight 1 in the last cell.
    """
    clamped = coordinate.clamp(0, length - 1)
    first = clamped.floor().clamp_(max=max(length - 2, 0))
    return first, clamped - first
