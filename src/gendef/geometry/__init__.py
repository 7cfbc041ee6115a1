"""The coordinate rule: grids, sampling, inversion, composition and flow; docs/coordinates.md."""

from gendef.geometry.coordinates import (
    canonical_flow,
    compose,
    folded_share,
    identity_grid,
    jacobian_determinant,
    resize_field,
    sample,
    sampling_positions,
    to_normalised,
    to_pixels,
    warp,
)
from gendef.geometry.field_inverse import Inversion, image_flow, invert_near, invert_points

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
