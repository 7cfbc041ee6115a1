"""The coordinate rule: grids, sampling, inversion, composition and flow; docs/coordinates.md."""

from gendef.geometry.coordinates import identity_grid, to_normalised, to_pixels
from gendef.geometry.deformation import (
    canonical_flow,
    compose,
    folded_share,
    jacobian_determinant,
    resize_field,
    sampling_positions,
    warp,
)
from gendef.geometry.field_inverse import Inversion, image_flow, invert_near, invert_points
from gendef.geometry.sampling import sample

__all__ = [
    "Inversion",
    "canonical_flow",
    "compose",
    "folded_share",
    "identity_grid",
    "image_flow",
    "invert_near",
    "invert_points",
    "jacobian_determinant",
    "resize_field",
    "sample",
    "sampling_positions",
    "to_normalised",
    "to_pixels",
    "warp",
]
