"""Clips whose field is stored at fewer nodes than the frames have pixels."""

import json

import pytest
import torch

from gendef.errors import ClipError, InputError
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_video import Layer, LayeredVideo, load_clip, to_alpha


def image(height=12, width=17):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def nodes(rows=3, columns=5, frames=4):
    return torch.randn(frames, rows, columns, 2, generator=torch.Generator().manual_seed(1)) * 0.1


def test_outer_nodes_lie_on_outer_pixels_and_the_rest_is_bilinear():
    video = CanonicalVideo(image(), nodes(), size=(9, 17))
    field = video.deformation
    assert field.shape == (4, 9, 17, 2)
    assert torch.allclose(field[:, ::4, ::4], nodes(), atol=1e-6)
    assert torch.allclose(field[:, 2, 2], nodes()[:, :2, :2].mean(dim=(1, 2)), atol=1e-6)


def test_it_renders_and_tracks_as_with_the_whole_field():
    video = CanonicalVideo(image(), nodes(), size=(9, 17))
    whole = CanonicalVideo(image(), video.deformation)
    assert video.size == whole.size == (9, 17)
    assert torch.equal(video.render(), whole.render())
    assert torch.equal(video.render(size=(18, 34), frames=[2, 0]), whole.render(size=(18, 34), frames=[2, 0]))
    assert torch.equal(video.flow("canonical"), whole.flow("canonical"))
    assert torch.equal(video.track([(4, 3)], frame=1).positions, whole.track([(4, 3)], frame=1).positions)


def test_some_frames_of_the_field():
    video = CanonicalVideo(image(), nodes(), size=(9, 17))
    assert torch.equal(video.fields([2, 0]), video.deformation[[2, 0]])
    assert torch.equal(video.fields(range(1, 3)), video.deformation[1:3])
    assert torch.equal(video.fields(range(0, 4, 2)), video.deformation[::2])


def test_one_node_is_the_same_everywhere():
    video = CanonicalVideo(image(), torch.zeros(3, 1, 1, 2), size=(12, 17))
    assert torch.equal(video.render(), image().expand(3, -1, -1, -1))


def test_frames_of_a_still_layer_are_not_its_canonical_image():
    below = CanonicalVideo(image(), torch.zeros(2, 1, 1, 2), size=(12, 17))
    above = CanonicalVideo(-image(), torch.zeros(2, 1, 1, 2), size=(12, 17))
    alpha = torch.full((2, 12, 17), 255, dtype=torch.uint8)
    frames = LayeredVideo([Layer(below), Layer(above, alpha)]).render()
    assert torch.equal(frames, -image().expand(2, -1, -1, -1))
    assert torch.equal(below.canonical, image())


def test_more_nodes_than_pixels_are_refused():
    with pytest.raises(InputError):
        CanonicalVideo(image(), nodes(), size=(2, 17))


def test_saved_and_loaded(tmp_path):
    video = CanonicalVideo(image(), nodes(), size=(9, 17))
    video.save(tmp_path / "clip")
    loaded = CanonicalVideo.load(tmp_path / "clip")
    assert loaded.size == (9, 17)
    assert torch.equal(loaded.nodes, nodes())
    assert torch.equal(loaded.deformation, video.deformation)
    assert torch.equal(loaded.with_canonical(-image()).render(), video.with_canonical(-image()).render())
    assert (tmp_path / "clip" / "deformation.safetensors").stat().st_size < 4 * (
        nodes().numel() + image().numel()
    ) + 400


@pytest.mark.parametrize("wrong", [[3], [10, 5], [0, 5], ["3", 5], [3, True]])
def test_impossible_nodes_in_a_file(tmp_path, wrong):
    CanonicalVideo(image(), nodes(), size=(9, 17)).save(tmp_path / "clip")
    meta = json.loads((tmp_path / "clip" / "video.json").read_text())
    (tmp_path / "clip" / "video.json").write_text(json.dumps({**meta, "nodes": wrong}))
    with pytest.raises(ClipError):
        CanonicalVideo.load(tmp_path / "clip")


def test_layers_with_a_still_alpha(tmp_path):
    alpha = to_alpha(torch.rand(1, 9, 17, generator=torch.Generator().manual_seed(2)))
    layers = [
        Layer(CanonicalVideo(image(), nodes(), size=(9, 17)), None, name="moving"),
        Layer(
            CanonicalVideo(image(9, 17), torch.zeros(4, 1, 1, 2), size=(9, 17)), alpha.expand(4, 9, 17), name="still"
        ),
    ]
    video = LayeredVideo(layers)
    counted = []
    video.save(tmp_path / "clip", layer_previews=False, on_frames=counted.append)
    assert sum(counted) == 4
    assert sorted(path.name for path in (tmp_path / "clip" / "layer01" / "alpha").iterdir()) == ["00000.png"]
    assert not (tmp_path / "clip" / "layer00" / "preview.mp4").exists()
    loaded = load_clip(tmp_path / "clip")
    assert torch.equal(loaded.layers[1].alpha, video.layers[1].alpha)
    assert torch.equal(loaded.render(), video.render())
