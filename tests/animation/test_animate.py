import numpy as np
import pytest
import torch
from PIL import Image
from tests.animation.tiny_prior import tiny_prior

from gendef.animation.animate import animate
from gendef.errors import InputError, ModelError
from gendef.geometry import folded_share
from gendef.media.images import to_uint8
from gendef.video.layered_video import LayeredVideo

SIZE = (64, 96)


@pytest.fixture(scope="module")
def prior():
    return tiny_prior()


@pytest.fixture(scope="module")
def photo():
    """Smooth colours, a brighter sky above."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    waves = 40 * np.sin(rows / 5 + columns / 9) + 30 * np.cos(columns / 7 - rows / 11)
    picture = np.stack((waves + 100, waves.T[: SIZE[1]].T[: SIZE[0]] * 0.5 + 120, 90 - waves), axis=-1)
    picture[:32] += 60
    return picture.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def sky():
    mask = np.zeros(SIZE, bool)
    mask[:32] = True
    return mask


def as_tensor(photo):
    return torch.from_numpy(photo).movedim(-1, 0) / 127.5 - 1


def test_the_first_frame_is_the_photograph(prior, photo):
    video = animate(photo, prior, seed=1, frames=6)
    assert (video.num_frames, video.size, video.fps) == (6, SIZE, 25)
    assert np.array_equal(to_uint8(video.render(frames=[0]))[0], photo)
    assert (video.render(frames=[5])[0] - as_tensor(photo)).abs().mean() > 0.02


def test_without_strength_it_stands_still_bit_for_bit(prior, photo, sky):
    frames = animate(photo, prior, mask=sky, frames=4, strength=0).render()
    assert torch.equal(frames, as_tensor(photo).expand(4, -1, -1, -1))


def test_the_seed_decides(prior, photo):
    first, again, other = (animate(photo, prior, seed=seed, frames=5).render() for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_longer_videos_begin_with_the_shorter_ones(prior, photo, sky):
    short = animate(photo, prior, frames=5, mask=sky, border="fill").layers[0].video
    long = animate(photo, prior, frames=9, mask=sky, border="fill").layers[0].video
    half = torch.tensor([SIZE[1] / 2, SIZE[0] / 2])

    def ways(video):
        tall, wide = video.canonical.shape[1:]
        change = video.deformation - video.deformation[:1]
        return change * torch.tensor([wide / 2, tall / 2]) / half

    assert torch.allclose(ways(short), ways(long)[:5], atol=1e-5)


def test_beyond_a_window_the_motion_goes_on_without_a_jump(prior, photo):
    video = animate(photo, prior, frames=25, seed=3)  # the keys end at 8 frames
    steps = video.deformation.diff(dim=0).flatten(1).norm(dim=1)
    assert float(video.deformation.diff(n=2, dim=0).flatten(1).norm(dim=1).max()) < 0.35 * float(steps.max())


def test_more_frames_a_second_show_the_same_motion(prior, photo):
    slow, fine = animate(photo, prior, frames=5), animate(photo, prior, frames=9, fps=50)
    assert torch.allclose(slow.render(frames=[4]), fine.render(frames=[8]), atol=0.02)
    fast = animate(photo, prior, frames=3, speed=2)
    assert torch.allclose(slow.render(frames=[4]), fast.render(frames=[2]), atol=0.02)


def test_what_a_mask_leaves_out_stands_still(prior, photo, sky):
    video = animate(photo, prior, mask=sky, frames=8)
    assert isinstance(video, LayeredVideo)
    assert torch.equal(video.render()[:, :, 36:], as_tensor(photo)[:, 36:].expand(8, -1, -1, -1))


def test_what_shall_stand_still_does(prior, photo, sky, tmp_path):
    Image.fromarray((~sky * 255).astype(np.uint8)).save(tmp_path / "still.png")
    frames = animate(photo, prior, still=tmp_path / "still.png", frames=8).render()
    assert torch.equal(frames[:, :, 32:], as_tensor(photo)[:, 32:].expand(8, -1, -1, -1))
    assert (frames[7, :, :24] - frames[0, :, :24]).abs().mean() > 0.02


@pytest.mark.parametrize("frames", [9, 24])
def test_arrows_arrive_without_folds(prior, photo, frames):
    arrows = [(20, 20, 32, 16), (70, 40, 76, 48)]
    video = animate(photo, prior, arrows=arrows, frames=frames, seed=2)
    tracks = video.track([arrow[:2] for arrow in arrows], frame=0)
    for arrow, way in zip(arrows, tracks.positions, strict=True):
        wanted = torch.tensor(arrow[2:]) - torch.tensor(arrow[:2])
        assert float((way[-1] - torch.tensor(arrow[2:], dtype=torch.float32)).norm()) < 0.1 * float(
            wanted.float().norm()
        )
    assert folded_share(video.deformation) < 0.001


def test_an_arrow_moves_what_is_marked(prior, photo):
    mask = np.zeros(SIZE, bool)
    mask[20:40, 30:60] = True
    video = animate(photo, prior, mask=mask, in_front=True, arrows=[(45, 30, 60, 30)], frames=8)
    way = video.track([(45, 30)], frame=0).positions[0]
    assert torch.allclose(way[-1], torch.tensor([60.0, 30.0]), atol=1.5)
    assert torch.equal(video.render()[:, :, 50:], as_tensor(photo)[:, 50:].expand(8, -1, -1, -1))


@pytest.mark.parametrize(("direction", "axis", "sign"), [("right", 0, 1), ("up", 1, -1), (180, 0, -1)])
def test_the_motion_goes_where_it_is_told(prior, photo, direction, axis, sign):
    video = animate(photo, prior, seed=4, frames=8, direction=direction)
    ways = video.track([(30, 20), (50, 30), (60, 40), (40, 45)], frame=0).positions
    mean = (ways[:, -1] - ways[:, 0]).mean(dim=0)
    assert float(mean[axis]) * sign > 3 * abs(float(mean[1 - axis]))


@pytest.mark.parametrize("mask", [False, True])
def test_a_loop_has_no_seam(prior, photo, sky, mask):
    video = animate(photo, prior, loop=True, frames=32, speed=0.25, mask=sky if mask else None, seed=1)
    frames = to_uint8(video.render()).astype(float)
    assert np.array_equal(frames[0], photo)
    neighbours = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert np.abs(frames[-1] - frames[0]).mean() < 1.1 * neighbours.max()


def test_a_crop_shows_no_border(prior, photo):
    video = animate(photo, prior, border="crop", frames=8, seed=1)
    assert tuple(video.canonical.shape[1:]) == SIZE  # no margin was filled in


def test_the_clip_says_how_it_was_made(prior, photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    prior.save(tmp_path / "prior")
    video = animate(tmp_path / "photo.png", tmp_path / "prior", seed=5, frames=3, size=32, label="water")
    assert video.size == (32, 48)
    assert video.info["model"] == str(tmp_path / "prior")
    assert video.info["motion_seed"] == 5
    assert video.info["settings"]["label"] == "water"
    assert video.report["warnings"] == []


def test_a_prior_that_finds_nothing_to_move(photo):
    with pytest.raises(InputError):
        animate(photo, tiny_prior(moving=-9.0), frames=3)


def test_nothing_is_left_to_move(prior, photo):
    with pytest.raises(InputError):
        animate(photo, prior, still=np.ones(SIZE, bool), frames=3)


@pytest.mark.parametrize(
    "options",
    [
        {"frames": 0},
        {"strength": -1},
        {"strength": float("nan")},
        {"speed": 0},
        {"fps": 0},
        {"seed": -1},
        {"border": "mirror"},
        {"label": "lava"},
        {"direction": "north"},
        {"size": 3},
        {"arrows": [(0, 0, 500, 5)]},
        {"mask": np.zeros(SIZE, bool)},
        {"mask": np.ones((10, 90), bool)},
    ],
)
def test_impossible_options(prior, photo, options):
    with pytest.raises(InputError):
        animate(photo, prior, **{"frames": 3, **options})


def test_a_prior_that_does_not_exist(photo):
    with pytest.raises(ModelError, match="nowhere"):
        animate(photo, "nowhere", frames=3)
