import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gendef import CanonicalVideo
from gendef.errors import ClipError, InputError
from gendef.video.illumination import gain, lit, unlit
from gendef.video.layer import Layer
from gendef.video.layered_video import LayeredVideo, load_clip


@pytest.fixture
def clip():
    torch.manual_seed(0)
    return CanonicalVideo(torch.rand(3, 24, 20) * 2 - 1, 0.05 * torch.randn(5, 24, 20, 2), 12.5)


def in_light(clip, illumination):
    return CanonicalVideo(clip.canonical, clip.deformation, clip.fps, illumination=illumination)


@pytest.fixture
def light():
    torch.manual_seed(1)
    return 0.4 * torch.rand(5, 3, 2, 3) - 0.2


def test_a_residual_of_zeros_changes_no_bit(clip):
    for size in (None, (31, 17)):
        assert torch.equal(in_light(clip, torch.zeros(5, 3, 2, 3)).render(size), clip.render(size))


def test_brightness_is_multiplied(clip, light):
    flat = light[:, :1, :1]
    expected = (clip.render().double() + 1) * (1 + flat.double()).movedim(-1, 1) - 1
    torch.testing.assert_close(in_light(clip, flat).render().double(), expected, atol=1e-6, rtol=0)


def test_values_lie_at_the_centres_of_cells_and_are_interpolated():
    values = torch.tensor([0.1, 0.5])[None, None, :, None].expand(1, 1, 2, 3)
    across = gain(values, (1, 8))[0, 0, 0]  # centres of the cells at 1.5 and 5.5
    expected = np.interp(np.arange(8), [1.5, 5.5], [0.1, 0.5])
    np.testing.assert_allclose(across.numpy(), expected, atol=1e-6)


def test_light_can_be_taken_off(light):
    frames = torch.rand(5, 3, 9, 7) * 2 - 1
    torch.testing.assert_close(unlit(lit(frames, light), light), frames, atol=1e-5, rtol=0)


def test_all_ways_of_rendering_agree(clip, light, monkeypatch):
    video = in_light(clip, light)
    whole = video.render((40, 36))
    monkeypatch.setattr("gendef.video.base.CHUNK_PIXELS", 2 * 40 * 36)
    assert [len(chunk) for chunk in video.iter_frames((40, 36))] == [2, 2, 1]
    torch.testing.assert_close(video.render((40, 36)), whole)
    torch.testing.assert_close(video.render((40, 36), [4, 1]), whole[[4, 1]])
    assert torch.equal(LayeredVideo([Layer(video)]).render(), video.render())


def test_an_edit_is_seen_in_the_light_of_the_clip(clip, light):
    video = in_light(clip, light)
    edited = video.with_canonical(np.full((24, 20, 3), 128, np.uint8))
    grey = torch.full((5, 3, 24, 20), 128 / 127.5 - 1)
    torch.testing.assert_close(edited.render(), lit(grey, light), atol=1e-5, rtol=0)
    black = video.with_canonical(np.zeros((24, 20, 3), np.uint8)).render()
    torch.testing.assert_close(black, torch.full_like(black, -1), atol=1e-6, rtol=0)
    assert torch.equal(video.canonical, clip.canonical)


def test_motion_is_not_affected(clip, light):
    video = in_light(clip, light)
    assert torch.equal(video.flow("canonical"), clip.flow("canonical"))
    one, two = (v.track([(5.0, 6.0)], frame=1) for v in (video, clip))
    assert torch.equal(one.positions, two.positions)


def test_without_illumination(clip, light):
    video = in_light(clip, light)
    assert torch.equal(video.without_illumination().render(), clip.render()) and video.illumination is not None
    assert torch.equal(LayeredVideo([Layer(video)]).without_illumination().render(), clip.render())


def test_round_trip(clip, light, tmp_path):
    video = in_light(clip, light)
    video.save(tmp_path / "clip")
    assert json.loads((tmp_path / "clip" / "video.json").read_text())["illumination"] == [3, 2]
    again = CanonicalVideo.load(tmp_path / "clip")
    assert torch.equal(again.illumination, light) and torch.equal(again.render(), video.render())
    again.without_illumination().save(tmp_path / "clip")
    assert not (tmp_path / "clip" / "illumination.safetensors").exists()
    assert CanonicalVideo.load(tmp_path / "clip").illumination is None


def test_clips_of_earlier_versions_have_none(clip, tmp_path):
    clip.save(tmp_path / "clip")
    meta = json.loads((tmp_path / "clip" / "video.json").read_text())
    del meta["illumination"]
    (tmp_path / "clip" / "video.json").write_text(json.dumps(meta))
    assert CanonicalVideo.load(tmp_path / "clip").illumination is None


def test_layers_keep_theirs(clip, light, tmp_path):
    alpha = torch.zeros(5, 24, 20, dtype=torch.uint8)
    alpha[:, :12] = 255
    video = LayeredVideo([Layer(in_light(clip, light)), Layer(in_light(clip, -light), alpha, 0, "object 1")])
    video.save(tmp_path / "clip")
    again = load_clip(tmp_path / "clip")
    assert torch.equal(again.layers[1].video.illumination, -light)
    assert torch.equal(again.render(), video.render())
    torch.testing.assert_close(video.render()[:, :, :12], in_light(clip, -light).render()[:, :, :12])


@pytest.mark.parametrize(
    ("illumination", "message"),
    [
        (torch.zeros(4, 3, 2, 3), r"floating \(5, h, w, 3\)"),
        (torch.zeros(5, 3, 2, 1), "got torch.float32"),
        (torch.zeros(5, 25, 2, 3), "h at most 24"),
        (torch.zeros(5, 3, 2, 3, dtype=torch.int64), "int64"),
        (torch.full((5, 3, 2, 3), float("nan")), "finite"),
        (torch.full((5, 3, 2, 3), -1.5), "at least -1, got -1.5"),
    ],
)
def test_bad_values_are_named(clip, illumination, message):
    with pytest.raises(InputError, match=message):
        in_light(clip, illumination)


def remove(folder):
    (folder / "illumination.safetensors").unlink()


def truncate(folder):
    data = (folder / "illumination.safetensors").read_bytes()
    (folder / "illumination.safetensors").write_bytes(data[:-8])


def another_shape(folder):
    save_file({"illumination": torch.zeros(5, 4, 2, 3)}, folder / "illumination.safetensors")


def too_dark(folder):
    save_file({"illumination": torch.full((5, 3, 2, 3), -2.0)}, folder / "illumination.safetensors")


def said(value):
    def change(folder):
        meta = json.loads((folder / "video.json").read_text())
        (folder / "video.json").write_text(json.dumps(meta | {"illumination": value}))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, "is missing"),
        (truncate, "does not fit"),
        (another_shape, "says F32"),
        (too_dark, "at least -1"),
        (said([10**6, 10**6]), "at most"),
        (said("large"), "illumination must be height and width"),
        (said([True, 2]), "illumination must be height and width"),
    ],
)
def test_damaged_files_are_refused(clip, light, tmp_path, damage, message):
    in_light(clip, light).save(tmp_path / "clip")
    assert set(load_file(tmp_path / "clip" / "illumination.safetensors")) == {"illumination"}
    damage(tmp_path / "clip")
    with pytest.raises(ClipError, match=message):
        CanonicalVideo.load(tmp_path / "clip")
