import numpy as np
import pytest
import torch
from tests.fitting.conftest import scenery, views, write_frames

from gendef.errors import DataError
from gendef.fitting import FitOptions, fit_scenes, fit_video
from gendef.fitting.illumination import PARTS, Illumination, solve_gains
from gendef.metrics.image_quality import psnr
from gendef.video.illumination import gain, lit

COUNT = 6


def ramp(count=COUNT, strength=0.06):
    """A light that rises from frame to frame, more at the left and in the red, (T, 2, 2, 3)."""
    rise = torch.arange(count).float()[:, None, None, None] * torch.tensor([1.0, 0.8, 0.5])
    return strength * rise * torch.tensor([[[1.5], [1.0]]])


@pytest.fixture
def moving(pixels):
    """Frames of a pan in constant light."""
    positions = torch.stack([pixels + torch.tensor([6.0 + 2.5 * t, 8.0]) for t in range(COUNT)])
    return views(scenery(64, 96) * 0.6 - 0.2, positions)


def test_the_light_of_a_known_ramp_is_found(tmp_path, moving):
    folder = write_frames(tmp_path / "ramp", lit(moving, ramp()))
    plain, clip = (fit_video(folder, quality="fast", illumination=illumination) for illumination in (False, True))
    assert clip.report["psnr"] > plain.report["psnr"] + 10 and clip.report["psnr"] > 40
    assert clip.report["psnr_without_illumination"] < 34 and clip.report["explained"] > 0.97
    assert clip.info["illumination"] and "psnr_without_illumination" not in plain.report and plain.illumination is None
    reference = clip.report["reference_frame"]
    expected = 1 + gain(ramp(), (48, 64))
    found = 1 + gain(clip.illumination, (48, 64))
    torch.testing.assert_close(found, expected / expected[reference], atol=0.02, rtol=0)
    # The canonical image is in the light of its reference frame, so that it looks as that does.
    assert clip.report["reference_difference"] < 1
    step = clip.flow("image")[:, 8:-8, 8:-8].nanmean(dim=(0, 1, 2))
    torch.testing.assert_close(step, torch.tensor([-2.5, 0.0]), atol=0.1, rtol=0)


def test_what_only_moves_is_not_taken_for_light(tmp_path, moving):
    clip = fit_video(write_frames(tmp_path / "pan", moving), quality="fast", illumination=True)
    assert clip.illumination.abs().mean() < 0.005 and clip.illumination.abs().max() < 0.02
    assert min(clip.report["psnr"], clip.report["psnr_without_illumination"]) > 45


def test_what_the_canonical_image_does_not_show_is_not_taken_for_light(tmp_path, pixels):
    frames = views(scenery(48, 64) * 0.6, pixels.expand(7, 48, 64, 2))
    frames[5, :, 8:40, 20:44] = torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    clip = fit_video(write_frames(tmp_path / "flash", frames), quality="fast", illumination=True)
    assert clip.illumination.abs().max() < 0.03 and clip.visibility[5, 16:32, 26:38].float().mean() < 0.2


def test_the_same_result_after_an_interruption(tmp_path, moving, monkeypatch):
    from gendef.fitting.checkpoint import StateFile
    from gendef.fitting.single_fit import fit_single
    from gendef.media.footage import read_footage

    footage = read_footage(write_frames(tmp_path / "ramp", lit(moving, ramp())), 270)
    options = FitOptions(quality="fast", illumination=True)
    whole = fit_single(footage.scenes[0], footage, options, "x")
    state = StateFile(tmp_path / "state", {}, every=0)
    sweeps = 0

    def stop(progress):
        nonlocal sweeps
        sweeps += progress.stage == "refining"
        if sweeps == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_single(footage.scenes[0], footage, options, "x", on_progress=stop, state_file=state)
    again = fit_single(footage.scenes[0], footage, options, "x", state_file=state)
    assert torch.equal(again.illumination, whole.illumination) and torch.equal(again.canonical, whole.canonical)


def test_black_frames_take_the_light_of_their_neighbours(tmp_path, moving):
    frames = lit(moving, ramp())
    frames[0] = -1
    clip = fit_video(write_frames(tmp_path / "black", frames), quality="fast", illumination=True)
    assert (
        torch.equal(clip.illumination[0], clip.illumination[1])
        and clip.illumination[5].mean() > clip.illumination[1].mean() + 0.1
    )


def test_a_still_video_has_no_light_of_its_own(tmp_path):
    clip = fit_video(write_frames(tmp_path / "still", scenery(32, 40).expand(3, 3, 32, 40)), illumination=True)
    assert torch.count_nonzero(clip.illumination) == 0
    assert clip.report["psnr"] == clip.report["psnr_without_illumination"]


def test_layers_share_the_light_that_the_background_finds(tmp_path, pixels):
    frames = views(scenery(48, 64) * 0.5 - 0.2, pixels.expand(COUNT, 48, 64, 2)).clone()
    thing, labels = scenery(20, 16, seed=5) * 0.5 - 0.2, np.zeros((COUNT, 48, 64), np.uint8)
    for t in range(COUNT):
        frames[t, :, 14:34, 6 + 6 * t : 22 + 6 * t] = thing
        labels[t, 14:34, 6 + 6 * t : 22 + 6 * t] = 255
    from PIL import Image

    folder = write_frames(tmp_path / "ramp", lit(frames, ramp()))
    (tmp_path / "masks").mkdir()
    for t, mask in enumerate(labels):
        Image.fromarray(mask).save(tmp_path / "masks" / f"{t:03d}.png")
    clip = fit_video(folder, quality="fast", masks=tmp_path / "masks", illumination=True)
    assert torch.equal(clip.layers[0].video.illumination, clip.layers[1].video.illumination)
    assert clip.report["psnr"] > clip.report["psnr_without_illumination"] + 5 and clip.report["psnr"] > 33
    expected, found = (1 + gain(light, (48, 64)) for light in (ramp(), clip.layers[0].video.illumination))
    torch.testing.assert_close(found, expected / expected[clip.report["reference_frame"]], atol=0.05, rtol=0)


def test_segments_have_their_own(tmp_path):
    still = scenery(48, 64)[:, :32, :40] * 0.6 - 0.2
    frames = lit(still.expand(17, 3, 32, 40), ramp(17, 0.03))
    folder = write_frames(tmp_path / "long", frames)
    clip = fit_scenes(folder, FitOptions(quality="fast", segment=16, illumination=True))[0]
    assert len(clip.layers) == 2 and all(layer.video.illumination is not None for layer in clip.layers)
    assert clip.report["psnr"] > 40 and clip.report["psnr_without_illumination"] < 35
    assert float(psnr(clip.render(), frames).min()) > 40


def test_the_linear_system_is_solved(monkeypatch):
    """Without penalties, and with enough steps, a gain on the grid is found to rounding."""
    torch.manual_seed(0)
    for name in ("SMOOTH", "STEADY", "SMALL"):
        monkeypatch.setattr(f"gendef.fitting.illumination.{name}", 0.0)
    monkeypatch.setattr("gendef.fitting.illumination.ITERATIONS", 500)
    brightness = 0.5 + torch.rand(2, 3, 3 * PARTS, 2 * PARTS)
    true = torch.rand(2, 3, 2, 3) - 0.5
    square = brightness.square()
    sums = torch.stack((square, square * gain(true, (3 * PARTS, 2 * PARTS))), dim=1)
    torch.testing.assert_close(solve_gains(sums, (3, 2)), true, atol=1e-3, rtol=0)


def test_the_grid_has_five_cells_along_the_shorter_side():
    assert Illumination(torch.zeros(1, 3, 270, 480)).gains.shape == (1, 5, 9, 3)
    assert Illumination(torch.zeros(1, 3, 456, 256)).gains.shape == (1, 9, 5, 3)


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(DataError, match="nothing"):
        fit_video(tmp_path / "nothing.mp4", illumination=True)
