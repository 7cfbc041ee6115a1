import pytest
import torch

from gendef import CanonicalVideo, GenDeF
from gendef.editing.motion_transfer import model_of, other_motions, with_motion_of
from gendef.errors import InputError, ModelError


def test_other_motions_keep_the_edited_content(model_folder, tmp_path):
    clip = GenDeF.from_pretrained(model_folder).sample(seed=4, num_frames=3)
    clip.save(tmp_path / "clip")
    painted = CanonicalVideo.load(tmp_path / "clip").with_canonical(torch.ones(3, 16, 16))
    same, other = other_motions(painted, [4, 5])
    assert torch.allclose(same.deformation, clip.deformation, atol=1e-6)
    assert not torch.allclose(other.deformation, clip.deformation, atol=1e-4)
    assert torch.equal(other.canonical, painted.canonical) and other.info["motion_seed"] == 5


def test_the_model_may_have_moved(model_folder, tmp_path):
    clip = GenDeF.from_pretrained(model_folder).sample(seed=4, num_frames=2)
    moved = model_folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="there is no model"):
        other_motions(clip, [1])
    assert len(other_motions(clip, [1], str(moved))) == 1


def test_a_clip_without_a_model_is_told_what_to_do():
    clip = CanonicalVideo(torch.zeros(3, 8, 8), torch.zeros(2, 8, 8, 2))
    with pytest.raises(InputError, match="--motion-of"):
        model_of(clip)


def test_the_motion_of_another_clip():
    content = CanonicalVideo(torch.rand(3, 20, 20), torch.zeros(2, 10, 15, 2), 10, info={"source": "a"})
    motion = CanonicalVideo(torch.zeros(3, 8, 8), torch.full((5, 8, 8, 2), 0.25), 12, info={"source": "b"})
    both = with_motion_of(content, motion)
    assert torch.equal(both.canonical, content.canonical) and torch.equal(both.deformation, motion.deformation)
    assert both.fps == 12 and both.info == {"content": {"source": "a"}, "motion": {"source": "b"}}


def test_a_picture_of_another_shape_is_not_squeezed():
    content = CanonicalVideo(torch.rand(3, 20, 30), torch.zeros(2, 10, 15, 2))
    both = with_motion_of(content, CanonicalVideo(torch.zeros(3, 8, 8), torch.full((5, 8, 8, 2), 0.25)))
    assert both.size == (20, 30) and torch.allclose(both.deformation, torch.full((5, 20, 30, 2), 0.25))
