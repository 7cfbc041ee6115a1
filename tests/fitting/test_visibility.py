import pytest
import torch
from safetensors.torch import save_file

from gendef import CanonicalVideo
from gendef.errors import ClipError, InputError
from gendef.video.clip_format import VISIBILITY


@pytest.fixture
def clip():
    torch.manual_seed(0)
    return CanonicalVideo(torch.rand(3, 9, 11), torch.zeros(3, 9, 11, 2), visibility=torch.rand(3, 9, 11) > 0.4)


def test_visibility_is_saved_bit_for_bit(clip, tmp_path):
    clip.save(tmp_path / "clip")
    assert torch.equal(CanonicalVideo.load(tmp_path / "clip").visibility, clip.visibility)
    assert torch.equal(clip.with_canonical(torch.zeros(3, 9, 11)).visibility, clip.visibility)


def test_folders_without_it_are_read(clip, tmp_path):
    clip.visibility = None
    clip.save(tmp_path / "clip")
    assert not (tmp_path / "clip" / VISIBILITY).exists()
    assert CanonicalVideo.load(tmp_path / "clip").visibility is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"visibility": torch.zeros(3, 12, dtype=torch.uint8)}, r"is torch.uint8 \[3, 12\]"),
        ({"visibility": torch.zeros(3, 13)}, "is torch.float32"),
        ({"other": torch.zeros(1)}, "it has no 'visibility'"),
        (b"short", "cannot be used"),
        (bytes(2**21), "it has 2097152 bytes"),
    ],
)
def test_damage_is_named(clip, tmp_path, content, message):
    clip.save(tmp_path / "clip")
    path = tmp_path / "clip" / VISIBILITY
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save_file(content, path)
    with pytest.raises(ClipError, match=message):
        CanonicalVideo.load(tmp_path / "clip")


def test_other_shapes_and_types_are_refused():
    for wrong in (torch.ones(2, 9, 9, dtype=torch.bool), torch.ones(1, 9, 9)):
        with pytest.raises(InputError, match=r"visibility must be bool \(1, 9, 9\)"):
            CanonicalVideo(torch.zeros(3, 9, 9), torch.zeros(1, 9, 9, 2), visibility=wrong)
