"""Clips saved by the version before the house, in `old_clips`: they load, and render as they did then.

Made by that version's `save`; `frames.safetensors` holds what its `render` gave. Previews are left out.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_video import load_clip

OLD = Path(__file__).parent / "old_clips"


@pytest.mark.parametrize("name", ["residual", "layered"])
def test_an_old_clip_renders_as_it_did(name):
    clip = load_clip(OLD / name)
    expected = load_file(OLD / "frames.safetensors")[name]
    torch.testing.assert_close(clip.render(), expected, rtol=0, atol=1e-6)
    assert clip.visibility is not None and clip.visibility.shape == (3, 24, 32)


def test_the_former_name_of_the_illumination_is_read_and_the_new_one_is_written(tmp_path):
    clip = CanonicalVideo.load(OLD / "residual")
    expected = torch.linspace(-0.3, 0.4, 3 * 2 * 3 * 3).reshape(3, 2, 3, 3)
    torch.testing.assert_close(clip.illumination, expected)
    clip.save(tmp_path / "clip")
    meta = json.loads((tmp_path / "clip" / "video.json").read_text())
    assert meta["illumination"] == [2, 3] and "residual" not in meta
    assert {path.name for path in (tmp_path / "clip").iterdir()} >= {"illumination.safetensors"}
    assert torch.equal(CanonicalVideo.load(tmp_path / "clip").illumination, clip.illumination)


def test_an_old_clip_is_replaced_as_a_whole(tmp_path):
    clip = CanonicalVideo.load(OLD / "residual")
    clip.save(tmp_path / "clip")
    (tmp_path / "clip" / "illumination.safetensors").rename(tmp_path / "clip" / "residual.safetensors")
    clip.without_illumination().save(tmp_path / "clip")
    assert not (tmp_path / "clip" / "residual.safetensors").exists()
