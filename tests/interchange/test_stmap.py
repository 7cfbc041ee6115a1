"""STMaps against their definition, an independent renderer, and the field they came from."""

import numpy as np
import pytest
import torch

from gendef import CanonicalVideo
from gendef.errors import InputError
from gendef.interchange.stmap import from_stmap, inverse_stmaps, to_stmap

cv2 = pytest.importorskip("cv2")


def bent_clip(frames=3, height=40, width=56, seed=0):
    noise = torch.Generator().manual_seed(seed)
    coarse = torch.randn(frames, 2, 4, 5, generator=noise) * 0.05
    field = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").movedim(1, -1)
    picture = torch.nn.functional.interpolate(
        torch.rand(1, 3, 10, 14, generator=noise) * 2 - 1, (height, width), mode="bicubic"
    )
    return CanonicalVideo(picture[0].clamp(-1, 1), field)


def test_the_identity_is_the_identity_map():
    uv = to_stmap(torch.zeros(6, 8, 2))
    u = (np.arange(8) + 0.5) / 8
    v = 1 - (np.arange(6) + 0.5) / 6  # v = 0 at the bottom edge
    np.testing.assert_allclose(uv, np.stack(np.broadcast_arrays(u[None], v[:, None]), axis=-1), atol=1e-7)


def test_a_field_comes_back():
    field = bent_clip().deformation[1]
    torch.testing.assert_close(from_stmap(to_stmap(field)), field, rtol=0, atol=2e-7)
    with pytest.raises(InputError):
        from_stmap(np.full((4, 4, 2), np.nan, np.float32))
    with pytest.raises(InputError):
        from_stmap(np.zeros((4, 4, 3), np.float32))


def test_an_independent_renderer_shows_the_same_frames():
    clip = bent_clip()
    height, width = clip.canonical.shape[1:]
    picture = ((clip.canonical.movedim(0, -1).numpy() + 1) * 127.5).astype(np.float32)
    for frame, rendered in zip(clip.deformation, clip.render(), strict=True):
        uv = to_stmap(frame)
        # OpenCV counts pixel centres from (0, 0) at the top left.
        x, y = uv[..., 0] * width - 0.5, (1 - uv[..., 1]) * height - 0.5
        shown = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        expected = (rendered.movedim(0, -1).numpy() + 1) * 127.5
        assert np.abs(shown - expected).max() < 0.5 * 255 / 32  # OpenCV's weights are of 1/32
        assert np.abs(shown - expected).mean() < 0.5


def test_the_inverse_leads_back():
    clip = bent_clip()
    size = (40, 56)
    for frame, (uv, shown) in zip(clip.deformation, inverse_stmaps(clip.deformation, size), strict=True):
        assert shown.mean() > 0.7
        x, y = uv[..., 0] * size[1] - 0.5, (1 - uv[..., 1]) * size[0] - 0.5
        forward = to_stmap(frame)
        back = cv2.remap(forward, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        there = to_stmap(torch.zeros(*size, 2))
        # Beyond the outer pixel centres OpenCV repeats positions, and the package repeats offsets.
        inner = shown & (x >= 0) & (x <= size[1] - 1) & (y >= 0) & (y <= size[0] - 1)
        assert np.abs(back - there)[inner].max() * 56 < 0.15  # pixels
