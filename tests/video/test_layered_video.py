"""Videos of layers: what they show, how they are saved, and what damaged folders are told."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import gendef
from gendef import CanonicalVideo
from gendef.errors import ClipError, InputError
from gendef.video.layer import Layer
from gendef.video.layered_video import LayeredVideo, load_clip, to_alpha


def shifted(image, steps, size, name="background", start=0, alpha=None):
    """A layer that shows a window of `image` (3, h, w), moved by whole pixels: frame t begins at column steps[t]."""
    height, width = image.shape[1:]
    x = torch.arange(size[1]) + torch.tensor(steps)[:, None]
    wanted_x = (2 * x + 1) / width - 1
    wanted_y = (2 * torch.arange(size[0]) + 1) / height - 1
    own_x = (2 * torch.arange(size[1]) + 1) / size[1] - 1
    own_y = (2 * torch.arange(size[0]) + 1) / size[0] - 1
    offset_x = (wanted_x - own_x)[:, None].expand(-1, size[0], -1)
    offset_y = (wanted_y - own_y)[None, :, None].expand(len(steps), -1, size[1])
    video = CanonicalVideo(image, torch.stack((offset_x, offset_y), dim=-1))
    return Layer(video, alpha, start, name)


@pytest.fixture
def still():
    """A background, and a square that moves two pixels a frame over it: layers, and the frames they show."""
    torch.manual_seed(0)
    back, front = torch.rand(3, 16, 32) * 2 - 1, torch.rand(3, 16, 24) * 2 - 1
    frames, alpha = [], torch.zeros(4, 16, 24, dtype=torch.uint8)
    for t in range(4):
        frame = back[:, :, 2 * t : 2 * t + 24].clone()
        left = 2 + 3 * t
        frame[:, 4:12, left : left + 6] = front[:, 4:12, 2:8]
        alpha[t, 4:12, left : left + 6] = 255
        frames.append(frame)
    layers = [
        shifted(back, [0, 2, 4, 6], (16, 24)),
        shifted(front, [0, -3, -6, -9], (16, 24), "square", alpha=alpha),
    ]
    return LayeredVideo(layers, 12.5, info={"kind": "test"}, report={"psnr": 40.0}), torch.stack(frames)


def test_the_front_hides_the_back(still):
    video, frames = still
    torch.testing.assert_close(video.render(), frames, atol=1e-4, rtol=0)
    assert (video.num_frames, video.size) == (4, (16, 24))
    torch.testing.assert_close(video.render(frames=[3, 1]), frames[[3, 1]], atol=1e-4, rtol=0)
    assert video.render(size=(32, 48)).shape == (4, 3, 32, 48)


def test_half_alpha_mixes():
    layers = [
        Layer(CanonicalVideo(torch.full((3, 4, 4), -1.0), torch.zeros(2, 4, 4, 2))),
        Layer(CanonicalVideo(torch.ones(3, 4, 4), torch.zeros(1, 4, 4, 2)), to_alpha(torch.full((1, 4, 4), 0.2)), 1),
    ]
    frames = LayeredVideo(layers).render()
    assert (frames[0] == -1).all()
    torch.testing.assert_close(frames[1], torch.full((3, 4, 4), -0.6), atol=1e-6, rtol=0)


def test_layers_begin_and_end():
    grey = [torch.full((3, 4, 4), value) for value in (0.25, 0.5)]
    layers = [
        Layer(CanonicalVideo(grey[0], torch.zeros(2, 4, 4, 2)), start=1),
        Layer(CanonicalVideo(grey[1], torch.zeros(2, 4, 4, 2)), start=2),
    ]
    video = LayeredVideo(layers)
    assert video.render()[:, 0, 0, 0].tolist() == [-1, 0.25, 0.5, 0.5]
    assert [int(video.owners(t)[0, 0]) for t in range(4)] == [-1, 0, 1, 1]
    assert video.parts("background") == [0, 1]


def test_an_edit_of_one_layer_leaves_the_others_alone(still):
    video, frames = still
    red = video.with_canonical(Image.new("RGB", (24, 16), (255, 0, 0)), layer=1).render()
    square = video.layers[1].alpha > 0
    assert torch.equal(red.movedim(1, -1)[~square], video.render().movedim(1, -1)[~square])
    assert (red[:, 0][square] == 1).all()
    twice = video.with_canonical(video.layers[0].video.canonical * 0)
    assert (twice.render().movedim(1, -1)[~square] == 0).all()
    torch.testing.assert_close(video.render(), frames, atol=1e-4, rtol=0)


def test_round_trip_is_exact(still, tmp_path):
    video, _ = still
    video.visibility = torch.rand(4, 16, 24) > 0.5
    video.save(tmp_path / "clip")
    names = {path.name for path in (tmp_path / "clip").iterdir()}
    assert names == {"layer00", "layer01", "video.json", "preview.mp4", "visibility.safetensors"}
    assert not (tmp_path / "clip" / "layer00" / "alpha").exists(), "what hides all needs no pictures"
    again = load_clip(tmp_path / "clip")
    assert isinstance(again, LayeredVideo)
    assert torch.equal(again.render(), video.render())
    assert torch.equal(again.visibility, video.visibility)
    assert (again.fps, again.info, again.report) == (12.5, {"kind": "test"}, {"psnr": 40.0})
    assert [layer.name for layer in again.layers] == ["background", "square"]
    assert [path.name for path in tmp_path.iterdir()] == ["clip"], "nothing temporary stays behind"
    assert isinstance(load_clip(tmp_path / "clip" / "layer01"), CanonicalVideo)


def test_edited_pictures_take_effect(still, tmp_path):
    video, _ = still
    video.save(tmp_path / "clip")
    Image.new("RGB", (48, 32), (0, 255, 0)).save(tmp_path / "clip" / "layer01" / "canonical.png")
    Image.new("L", (24, 16), 255).save(tmp_path / "clip" / "layer01" / "alpha" / "00002.png")
    frames = load_clip(tmp_path / "clip").render()
    assert (frames[2, 1] > 0.999).all()
    assert (frames[2, 0] < -0.999).all()


def test_saving_replaces_a_clip_of_the_other_kind_and_nothing_else(still, tmp_path):
    video, _ = still
    plain = CanonicalVideo(torch.zeros(3, 8, 8), torch.zeros(1, 8, 8, 2))
    plain.save(tmp_path / "clip")
    video.save(tmp_path / "clip")
    assert not (tmp_path / "clip" / "canonical.png").exists()
    plain.save(tmp_path / "clip")
    assert isinstance(load_clip(tmp_path / "clip"), CanonicalVideo)
    video.save(tmp_path / "clip")
    (tmp_path / "clip" / "layer01" / "alpha" / "notes.txt").write_text("precious")
    for other in (plain, video):
        with pytest.raises(InputError, match=r"notes\.txt"):
            other.save(tmp_path / "clip")
    assert (tmp_path / "clip" / "layer01" / "alpha" / "notes.txt").read_text() == "precious"


def test_a_plain_clip_loads_as_before(tmp_path):
    plain = CanonicalVideo(torch.rand(3, 8, 8), torch.zeros(1, 8, 8, 2))
    plain.save(tmp_path / "clip")
    assert torch.equal(load_clip(tmp_path / "clip").canonical, plain.canonical)
    with pytest.raises(ClipError, match="without layers"):
        LayeredVideo.load(tmp_path / "clip")


def test_layers_are_no_canonical_video(still, tmp_path):
    still[0].save(tmp_path / "clip")
    with pytest.raises(ClipError, match=r"has layers: load it with gendef.load_clip, or name one of them"):
        CanonicalVideo.load(tmp_path / "clip")


def damage(folder, change):
    path = folder / "video.json"
    meta = json.loads(path.read_text())
    change(meta)
    path.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda meta: meta.update(version=3), "clip format 3, this gendef reads 1 and 2"),
        (lambda meta: meta.update(layers="all"), "layers must be a list"),
        (lambda meta: meta.update(layers=[]), "layers must be a list"),
        (lambda meta: meta["layers"][0].update(start=-1), "layer 0 begins at -1"),
        (lambda meta: meta["layers"][1].pop("name"), "layer 1 has no name"),
        (lambda meta: meta.update(frames=9), "end at frame 4, video.json says 9"),
        (lambda meta: meta.update(width=25), "frames of another size"),
        (lambda meta: meta["layers"].append({"name": "x", "start": 0}), "layer02 is not a saved clip"),
    ],
)
def test_damaged_descriptions_are_refused(still, tmp_path, change, message):
    still[0].save(tmp_path / "clip")
    damage(tmp_path / "clip", change)
    with pytest.raises(ClipError, match=message):
        load_clip(tmp_path / "clip")


def test_damaged_pictures_are_refused(still, tmp_path):
    still[0].save(tmp_path / "clip")
    alpha = tmp_path / "clip" / "layer01" / "alpha"
    Image.new("L", (3, 3)).save(alpha / "00001.png")
    with pytest.raises(ClipError, match=r"00001.png is 3x3, the layer has 24x16 pixels"):
        load_clip(tmp_path / "clip")
    (alpha / "00001.png").unlink()
    with pytest.raises(ClipError, match=r"00001.png does not exist"):
        load_clip(tmp_path / "clip")


def test_a_failed_save_leaves_nothing(still, tmp_path, monkeypatch):
    video, _ = still
    monkeypatch.setattr(LayeredVideo, "iter_frames", lambda self: iter([torch.full((1, 3, 16, 24), "x")]))
    with pytest.raises(TypeError):
        video.save(tmp_path / "clip")
    assert list(tmp_path.iterdir()) == []


def test_layers_that_do_not_fit_are_refused():
    small = CanonicalVideo(torch.zeros(3, 8, 8), torch.zeros(2, 8, 8, 2))
    large = CanonicalVideo(torch.zeros(3, 8, 8), torch.zeros(2, 9, 8, 2))
    with pytest.raises(InputError, match="at least one layer"):
        LayeredVideo([])
    with pytest.raises(InputError, match=r"layer 1 has frames of \(9, 8\)"):
        LayeredVideo([Layer(small), Layer(large)])
    with pytest.raises(InputError, match=r"must be uint8 \(2, 8, 8\), got torch.float32"):
        LayeredVideo([Layer(small, torch.ones(2, 8, 8))])
    with pytest.raises(InputError, match="begins at frame -1"):
        LayeredVideo([Layer(small, start=-1)])
    video = LayeredVideo([Layer(small)])
    with pytest.raises(InputError, match="layer must be between 0 and 0, got 1"):
        video.with_canonical(np.zeros((4, 4, 3), np.uint8), layer=1)
    with pytest.raises(InputError, match="does not fit in its place"):
        video.with_layer(0, large)


def test_public_name():
    assert gendef.load_clip is load_clip
