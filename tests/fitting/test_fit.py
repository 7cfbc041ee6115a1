import numpy as np
import pytest
import torch
from tests.fitting.conftest import scenery, views, write_frames

import gendef
from gendef.errors import InputError
from gendef.fitting import FitOptions, fit_scenes, fit_video
from gendef.fitting.checkpoint import State, StateFile
from gendef.fitting.report import (
    agrees_with_flow,
    explained,
    local_majority,
)
from gendef.metrics.image_quality import psnr, ssim
from gendef.optical_flow.pairwise_flow import Flows


def test_a_pan_becomes_a_panorama(pan):
    folder, frames = pan
    reports = []
    clip = gendef.fit_video(folder, quality="fast", on_progress=reports.append)
    assert clip.size == (48, 64) and clip.num_frames == 6
    assert clip.canonical.shape[2] in range(75, 81)  # 64 + 5 * 2.5 pixels wide
    assert clip.report["psnr"] > 34 and clip.report["psnr_min"] > 32 and clip.report["folded"] == 0
    assert clip.report["seen"] > 0.9 and clip.report["explained"] > 0.97 and clip.report["reference_difference"] < 3
    rounded = ((frames + 1) * 127.5).round() / 127.5 - 1
    torch.testing.assert_close(psnr(clip.render(), rounded).mean().item(), clip.report["psnr"], atol=1e-3, rtol=0)
    step = clip.flow("image")[:, 8:-8, 8:-8].nanmean(dim=(0, 1, 2))
    torch.testing.assert_close(step, torch.tensor([-2.5, 0.0]), atol=0.1, rtol=0)
    done = [progress.done for progress in reports]
    assert done == sorted(done) and done[-1] == 1


def test_a_bending_surface_is_followed(tmp_path, pixels):
    waves = [pixels + t * torch.stack((torch.sin(pixels[..., 1] / 8), torch.zeros(48, 64)), dim=-1) for t in range(5)]
    frames = views(scenery(48, 64), torch.stack(waves))
    clip = fit_video(write_frames(tmp_path / "wave", frames), quality="fast")
    rigid = psnr(frames, frames[2].expand_as(frames))
    assert clip.report["psnr"] > 31 and clip.report["psnr_min"] > float(rigid.min()) + 8
    assert clip.report["folded"] == 0


def test_the_same_seed_gives_the_same_result(pan):
    threads = torch.get_num_threads()
    one, two = (fit_video(pan[0], quality="fast", seed=3) for _ in range(2))
    assert torch.equal(one.deformation, two.deformation) and torch.equal(one.canonical, two.canonical)
    assert torch.is_grad_enabled() and torch.get_num_threads() == threads  # the fit works with one thread a frame


@pytest.mark.parametrize("count", [1, 4])
def test_a_still_video_is_its_picture(tmp_path, count):
    picture = scenery(32, 40)
    clip = fit_video(write_frames(tmp_path / "still", picture.expand(count, 3, 32, 40)))
    assert clip.num_frames == count and torch.count_nonzero(clip.deformation) == 0
    torch.testing.assert_close(clip.canonical, picture, atol=0.005, rtol=0)
    assert clip.report["psnr"] > 55 and clip.report["explained"] == 1


def test_scenes_are_fitted_one_by_one(tmp_path, pan):
    frames = torch.cat((pan[1] * 0.4 - 0.6, pan[1].flip(1, 2) * 0.4 + 0.6, pan[1][-1:].flip(1, 2) * 0.4 + 0.6))
    folder = write_frames(tmp_path / "cut", frames)
    reports = []
    clips = fit_scenes(folder, FitOptions(quality="fast"), on_progress=reports.append)
    assert [clip.info["frames"] for clip in clips] == [[0, 5], [6, 12]]
    done = [progress.done for progress in reports]
    assert done == sorted(done) and done[-1] == 1 and {progress.scene for progress in reports} == {0, 1}
    with pytest.warns(UserWarning, match="frames 6 to 12"):
        longest = fit_video(folder, quality="fast")
    assert torch.equal(longest.canonical, clips[1].canonical)
    assert any("frames 6 to 12" in text for text in longest.report["warnings"])


def test_black_frames_do_not_harm(tmp_path, pan):
    frames = pan[1].clone()
    frames[[0, 3]] = -1
    clip = fit_video(write_frames(tmp_path / "black", frames), quality="fast")
    assert clip.report["blank_frames"] == [0, 3] and clip.report["psnr"] > 33
    assert not clip.visibility[[0, 3]].any() and clip.visibility[1].float().mean() > 0.9
    assert torch.equal(clip.deformation[0], clip.deformation[1])


def test_what_comes_from_nowhere_is_not_explained(tmp_path, pixels):
    frames = views(scenery(48, 64), pixels.expand(7, 48, 64, 2))
    frames[5, :, 16:32, 20:40] = torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    clip = fit_video(write_frames(tmp_path / "flash", frames), quality="fast")
    assert clip.visibility[5, 20:28, 26:34].float().mean() < 0.2
    assert clip.visibility[2].float().mean() > 0.97


def test_the_canonical_image_is_that_of_the_reference_frame(tmp_path, pan):
    folder, frames = pan
    number = gendef.fit_video(folder, quality="fast").report["reference_frame"]
    # No other frame shows the patch; five frames against one must not paint over it.
    frames[number, :, 20:30, 28:38] = torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    clip = gendef.fit_video(write_frames(tmp_path / "patch", frames), quality="fast")
    assert clip.report["reference_frame"] == number
    shown = clip.render(frames=[number])[0, :, 20:30, 28:38]
    assert float((shown - frames[number, :, 20:30, 28:38]).abs().mean()) < 0.2


def test_any_flow_method_can_be_used(pan):
    calls = []

    def method(first, second):
        calls.append(first.shape)
        return np.zeros((48, 64, 2))

    clip = fit_video(pan[0], quality="fast", flow=method, frames=3)
    assert len(calls) == 4 and clip.num_frames == 3
    with pytest.raises(InputError, match=r"the flow method gave \(5, 5, 2\) for frames of 48x64"):
        fit_video(pan[0], flow=lambda first, second: np.zeros((5, 5, 2)))


def test_a_budget_is_kept(pan):
    clip = fit_video(pan[0], budget=1.0)
    assert clip.report["seconds"] < 4 and clip.report["sweeps"] >= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": "fine"}, "quality must be one of fast, default, best, got 'fine'"),
        ({"budget": 0}, "budget must be a positive number of seconds, got 0"),
        ({"seed": -1}, "seed must be between 0 and 2147483647, got -1"),
        ({"layers": "many"}, "layers must be one of one, auto, got 'many'"),
        ({"segment": 15}, "at least 16 frames, got 15"),
    ],
)
def test_impossible_options(pan, options, message):
    with pytest.raises(InputError, match=message):
        fit_video(pan[0], **options)


def test_state_comes_back_for_the_same_job_only(tmp_path):
    tensors = torch.rand(2, 2, 3, 3), torch.rand(3, 4, 4), torch.rand(2, 6, 6)
    path = tmp_path / "state.safetensors"
    StateFile(path, {"seed": 0}).save(State(9, 3.5, *tensors))
    again = StateFile(path, {"seed": 0}).load()
    assert (again.sweeps, again.seconds) == (9, 3.5)
    assert torch.equal(again.deviation, tensors[0]) and torch.equal(again.trust, tensors[2])
    assert StateFile(path, {"seed": 1}).load() is None


def test_measures_of_known_pictures():
    torch.manual_seed(0)
    truth = torch.rand(2, 3, 32, 32) * 2 - 1
    assert float(psnr(truth, truth).min()) == 100 and float(ssim(truth, truth).min()) == pytest.approx(1, abs=1e-5)
    assert float(psnr(truth * 0, truth * 0 + 0.2)[0]) == pytest.approx(20, abs=1e-4)
    assert float(ssim(truth, -truth)[0]) < 0
    squeezed = torch.zeros(1, 32, 32, 2)
    squeezed[0, :, 10:20, 0] = torch.linspace(0, -20 / 32, 10)
    seen = explained(truth[:1], truth[:1], squeezed, (32, 32))
    assert not seen[0, :, 11:18].any() and seen[0, :, :9].all()


def test_the_way_by_flow_and_by_field_must_agree():
    flow = torch.zeros(1, 2, 20, 30)
    flow[:, 0] = 5
    flows = Flows(flow, -flow, torch.ones(1, 20, 30), torch.ones(1, 20, 30))
    field = torch.zeros(2, 20, 30, 2)
    assert not agrees_with_flow(field, (20, 30), flows)[0, :, :25].any()
    field[1, ..., 0] = -5 * 2 / 30  # frame 1 shows everything 5 pixels further right
    assert agrees_with_flow(field, (20, 30), flows)[0, :, :25].all()
    unsure = Flows(flow, -flow, torch.zeros(1, 20, 30), torch.zeros(1, 20, 30))
    assert agrees_with_flow(field * 0, (20, 30), unsure).all()


def test_a_pixel_is_explained_like_most_around_it():
    marks = torch.ones(1, 21, 21, dtype=torch.bool)
    marks[0, 10, 10] = False  # noise
    marks[0, :, 14:] = False
    found = local_majority(marks)[0]
    assert found[10, 10] and not found[:, 15:].any() and found[:, :13].all()
