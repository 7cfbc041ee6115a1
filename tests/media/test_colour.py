"""Transfer functions against the values printed in their standards."""

import numpy as np
import pytest

from gendef.media.colour import HLG, PQ, ColourTags, _compressed, _hlg_to_light, _pq_to_light, tone_mapped


def test_hlg_and_pq_by_their_tables():
    # BT.2100: HLG is 1/12 at 0.5 and 1 at 1; BT.2408, table 1: 75 % HLG is 0.265 of scene light.
    assert _hlg_to_light(np.array([0.0, 0.5, 0.75, 1.0])) == pytest.approx([0, 1 / 12, 0.265, 1], abs=1e-3)
    # BT.2408, table 1: 58 % PQ is 203 cd/m2, 75 % is about 1000 (983), 100 % is 10 000.
    assert _pq_to_light(np.array([0.0, 0.58, 0.75, 1.0])) == pytest.approx([0, 203, 983, 10000], rel=0.02)


def test_tone_mapping_is_smooth_and_rises():
    light = np.linspace(0, 100, 200_001)
    curve = _compressed(light, 100.0)
    np.testing.assert_array_equal(curve[light <= 0.8], light[light <= 0.8])
    slopes = np.diff(curve) / np.diff(light)
    assert (slopes > 0).all() and np.abs(np.diff(slopes)).max() < 0.01
    assert curve[-1] == pytest.approx(1)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_grey_stays_grey_and_white_is_not_lost(transfer):
    ramp = np.repeat(np.linspace(0, 65535, 64).astype(np.uint16)[None, :, None], 3, axis=2)
    mapped = tone_mapped(ramp, ColourTags(9, transfer, 9)).astype(int)
    assert np.abs(mapped - mapped.mean(axis=-1, keepdims=True)).max() <= 1
    grey = mapped[0, :, 1]
    assert grey[0] == 0 and grey[-1] == 255 and (np.diff(grey) >= 0).all()
