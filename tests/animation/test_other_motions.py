import numpy as np
import pytest
import torch
from tests.animation.tiny_prior import tiny_prior

from gendef.animation.animate import animate
from gendef.animation.other_motions import animate_again, is_animated
from gendef.errors import InputError
from gendef.media.images import to_uint8
from gendef.model.gendef import GenDeF
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_video import load_clip


def photo():
    rows, columns = np.mgrid[:40, :64]
    picture = np.stack((rows * 3, columns * 3, rows + columns), axis=-1).astype(np.uint8)
    picture[:20] += 80
    return picture


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    tiny_prior().save(folder)
    return folder


@pytest.mark.parametrize("in_front", [None, False, True])
def test_the_same_photograph_moves_in_another_way(prior, tmp_path, in_front):
    mask = np.zeros((40, 64), bool)
    mask[10:20, 10:40] = True
    options = {} if in_front is None else {"mask": mask, "in_front": in_front}
    video = animate(photo(), prior, seed=1, frames=5, fps=12, arrows=[(20, 15, 24, 15)], **options)
    video.save(tmp_path / "clip")
    other = animate_again(load_clip(tmp_path / "clip"), 2)
    assert (other.num_frames, other.size, other.fps) == (5, (40, 64), 12)
    assert len(other.layers) == len(video.layers)
    assert np.array_equal(to_uint8(other.render(frames=[0])), to_uint8(video.render(frames=[0])))
    assert not torch.equal(other.render(frames=[4]), video.render(frames=[4]))
    assert other.info["motion_seed"] == 2
    assert other.info["settings"]["arrows"] == [[20, 15, 24, 15]]


def test_the_same_seed_gives_the_same_motion(prior):
    video = animate(photo(), prior, seed=1, frames=5)
    assert torch.allclose(animate_again(video, 1).render(), video.render(), atol=0.02)


def test_edits_stay(prior):
    video = animate(photo(), prior, seed=1, frames=5)
    other = animate_again(video.with_canonical(np.full((40, 64, 3), 9, np.uint8)), 2)
    assert (to_uint8(other.render()) == 9).all()


def test_other_clips_are_refused():
    video = CanonicalVideo(torch.zeros(3, 20, 20), torch.zeros(2, 20, 20, 2))
    assert not is_animated(video)
    with pytest.raises(InputError):
        animate_again(video, 1)


def test_a_model_animates_images(prior, tiny_generator):
    model = GenDeF(tiny_generator, name=str(prior))
    video = model.animate(photo(), seed=1, frames=3)
    assert video.info["model"] == str(prior)
    assert torch.equal(video.render(), animate(photo(), prior, seed=1, frames=3).render())
