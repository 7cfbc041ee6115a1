"""`gendef export --to` and `gendef import`: files as OpenEXR reads them, and a clip that comes back."""

import json

import numpy as np
import pytest
import torch
from tests.interchange.test_stmap import bent_clip

from gendef import CanonicalVideo, LayeredVideo, load_clip
from gendef.cli.main import main
from gendef.errors import InputError
from gendef.interchange.export_clip import export_clip
from gendef.interchange.import_clip import import_stmaps
from gendef.media.exr import read_exr
from gendef.video.layer import Layer

OpenEXR = pytest.importorskip("OpenEXR", reason="needs the extra vfx")


def test_there_and_back(tmp_path, capsys):
    clip = bent_clip()
    clip.visibility = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(1)) > 0.3
    clip.save(tmp_path / "clip")
    assert main(["export", str(tmp_path / "clip"), "--to", "nuke", "--out", str(tmp_path / "nuke"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 3
    names = {path.name for path in (tmp_path / "nuke").iterdir()}
    maps = {f"{kind}.{number:04d}.exr" for kind in ("stmap", "stmap_inverse") for number in (1, 2, 3)}
    assert names == maps | {"canonical.exr", "canonical.png", "clip.nk"}
    with OpenEXR.File(str(tmp_path / "nuke" / "stmap.0002.exr"), separate_channels=True) as file:
        u = file.channels()["R"].pixels
    half = (torch.arange(56) + 0.5) / 56 + clip.deformation[1, ..., 0] / 2
    np.testing.assert_allclose(u, half.numpy(), atol=1e-6)
    arguments = ["import", str(tmp_path / "nuke"), "--canonical", str(tmp_path / "nuke" / "canonical.exr")]
    assert main([*arguments, "--out", str(tmp_path / "back")]) == 0
    back = load_clip(tmp_path / "back")
    torch.testing.assert_close(back.layers[0].video.deformation, clip.deformation, rtol=0, atol=5e-7)
    assert torch.equal(back.visibility, clip.visibility)
    assert float((back.render() - clip.render()).abs().max()) * 127.5 < 1.01  # the plate is read in 8 bits


def test_layers_have_a_folder_and_a_matte_each(tmp_path):
    back, front = bent_clip(), bent_clip(frames=2, seed=1)
    alpha = torch.zeros(2, 40, 56, dtype=torch.uint8)
    alpha[:, 10:20, 10:30] = 255
    video = LayeredVideo([Layer(back), Layer(front, alpha, 1, "object 1")])
    folders = export_clip(video, tmp_path / "out", "fusion", (20, 28))
    assert [folder.name for folder in folders] == ["layer00", "layer01"]
    assert sorted(path.name for path in folders[1].glob("stmap.*")) == ["stmap.0002.exr", "stmap.0003.exr"]
    matte = read_exr(folders[1] / "stmap.0002.exr")["A"]
    assert matte.shape == (20, 28) and matte[7, 10] == 1 and matte[0, 0] == 0
    assert not list(folders[0].glob("*.nk"))


def test_a_canonical_image_painted_elsewhere_comes_back(tmp_path, capsys):
    clip = bent_clip()
    clip.save(tmp_path / "clip")
    export_clip(clip, tmp_path / "nuke")
    arguments = ["edit", str(tmp_path / "clip"), "--canonical", str(tmp_path / "nuke" / "canonical.exr"), "--json"]
    assert main([*arguments, "--out", str(tmp_path / "edited")]) == 0
    assert json.loads(capsys.readouterr().out)["changed_share"] == 0


def test_mistakes(tmp_path):
    with pytest.raises(InputError, match="premiere"):
        export_clip(bent_clip(), tmp_path / "out", "premiere")
    assert not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        import_stmaps(tmp_path / "empty", tmp_path / "plate.png")
    with pytest.raises(InputError, match="nowhere"):
        import_stmaps(tmp_path / "nowhere", tmp_path / "plate.png")


def test_the_identity_is_exact(tmp_path):
    export_clip(CanonicalVideo(torch.zeros(3, 8, 8), torch.zeros(1, 8, 8, 2)), tmp_path / "out")
    maps = read_exr(tmp_path / "out" / "stmap.0001.exr"), read_exr(tmp_path / "out" / "stmap_inverse.0001.exr")
    centres = (np.arange(8) + 0.5) / 8
    for channels in maps:
        np.testing.assert_allclose(channels["R"], np.broadcast_to(centres, (8, 8)), atol=1e-6)
        np.testing.assert_allclose(channels["G"], np.broadcast_to(1 - centres[:, None], (8, 8)), atol=1e-6)
        assert channels["A"].min() == 1
