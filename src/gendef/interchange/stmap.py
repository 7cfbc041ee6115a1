"""STMaps: deformation fields as pictures of texture coordinates, which Nuke, Fusion and Blender read.

An STMap holds, for every output pixel, where to look in another picture: u = R from left to right, v = G from bottom to
top, both 0 at the outer edge and 1 at the opposite one, so that pixel x of W has its centre at (x + 0.5) / W. In this
package's normalised coordinates (x then y, -1 to 1, y downwards) that is u = (x + 1) / 2 and v = (1 - y) / 2.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry import identity_grid, invert_near, resize_field, to_normalised
from gendef.geometry.mesh_search import TOLERANCE


def to_stmap(field: Tensor) -> np.ndarray:
    """One frame's field (H, W, 2) as an STMap into the canonical image, float32 (H, W, 2)."""
    position = identity_grid(*field.shape[:2], dtype=torch.float64) + field.double()
    return _to_uv(position).float().numpy()


def from_stmap(uv: np.ndarray) -> Tensor:
    """An STMap (H, W, 2) as a field, float32 (H, W, 2); the inverse of `to_stmap`.

    Raises:
        InputError: of another shape, or with values that are not finite.
    """
    if uv.ndim != 3 or uv.shape[2] != 2:
        raise InputError(f"an STMap must be (H, W, 2), got {uv.shape}")
    if not np.isfinite(uv).all():
        raise InputError("the STMap holds values that are not finite")
    values = torch.from_numpy(np.ascontiguousarray(uv)).double()
    position = torch.stack((2 * values[..., 0] - 1, 1 - 2 * values[..., 1]), dim=-1)
    return (position - identity_grid(*uv.shape[:2], dtype=torch.float64)).float()


def inverse_stmaps(deformation: Tensor, size: tuple[int, int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For every frame, where each pixel of the canonical image is shown: an STMap into the frame.

    Args:
        deformation: (T, H, W, 2).
        size: height and width of the maps, of the canonical image's shape.

    Yields:
        float32 (h, w, 2), and bool (h, w), whether the frame shows that place; where it does not, the map says where
        the place would be if the border's motion went on.
    """
    height, width = deformation.shape[1:3]
    grid = identity_grid(*size).reshape(-1, 2)
    targets = ((grid + 1) * torch.tensor([width, height]) - 1) / 2
    start = targets
    for field in deformation.float():
        position, residual = invert_near(field, targets, start)
        inside = ((position >= -0.5) & (position <= torch.tensor([width - 0.5, height - 0.5]))).all(dim=-1)
        shown = inside & (residual <= TOLERANCE)
        start = torch.where(shown[:, None], position, targets)
        uv = _to_uv(to_normalised(position.double(), (height, width)))
        yield uv.float().reshape(*size, 2).numpy(), shown.reshape(size).numpy()


def sized_field(deformation: Tensor, frame: int, size: tuple[int, int] | None) -> Tensor:
    """The field of one frame, (H, W, 2), at another height and width."""
    field = deformation[frame : frame + 1]
    return (field if size is None else resize_field(field, size))[0]


def _to_uv(position: Tensor) -> Tensor:
    """Normalised positions (..., 2) as u and v."""
    return torch.stack(((position[..., 0] + 1) / 2, (1 - position[..., 1]) / 2), dim=-1)
