import json
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from gendef import CanonicalVideo
from gendef.errors import ClipError, InputError


@pytest.fixture
def clip():
    torch.manual_seed(0)
    field = 0.05 * torch.randn(5, 4, 4, 2)
    smooth = torch.nn.functional.interpolate(field.movedim(-1, 1), (24, 20), mode="bicubic").movedim(1, -1)
    return CanonicalVideo(torch.rand(3, 24, 20) * 2 - 1, smooth, 12.5, info={"model": "none"}, report={"psnr": 31.5})


def test_round_trip_is_exact(clip, tmp_path):
    clip.save(tmp_path / "clip")
    names = {path.name for path in (tmp_path / "clip").iterdir()}
    assert names == {"canonical.png", "deformation.safetensors", "video.json", "preview.mp4"}
    again = CanonicalVideo.load(tmp_path / "clip")
    assert torch.equal(again.canonical, clip.canonical)
    assert torch.equal(again.deformation, clip.deformation)
    assert (again.fps, again.info, again.report) == (clip.fps, clip.info, clip.report)
    assert [path.name for path in tmp_path.iterdir()] == ["clip"], "nothing temporary stays behind"


def test_field_file_is_ordinary_safetensors(clip, tmp_path):
    from safetensors.torch import load_file

    clip.save(tmp_path / "clip")
    tensors = load_file(tmp_path / "clip" / "deformation.safetensors")
    assert torch.equal(tensors["deformation"], clip.deformation)


def test_an_edited_png_takes_effect(clip, tmp_path):
    clip.save(tmp_path / "clip")
    edited = Image.new("RGB", (40, 48), (255, 0, 0))
    edited.save(tmp_path / "clip" / "canonical.png")
    frames = CanonicalVideo.load(tmp_path / "clip").render()
    red = torch.tensor([1.0, -1.0, -1.0])[None, :, None, None]
    torch.testing.assert_close(frames, red.expand_as(frames), atol=1e-5, rtol=0)


def test_parts_rubbed_out_of_the_png_show_what_was_there(clip, tmp_path):
    clip.save(tmp_path / "clip")
    pixels = np.zeros((24, 20, 4), np.uint8)
    pixels[:5] = (255, 255, 255, 255)
    Image.fromarray(pixels).save(tmp_path / "clip" / "canonical.png")
    again = CanonicalVideo.load(tmp_path / "clip")
    assert (again.canonical[:, :5] == 1).all()
    assert torch.equal(again.canonical[:, 5:], clip.canonical[:, 5:])


def test_values_beyond_white_survive(tmp_path):
    """Generated images leave [-1, 1] a little; the PNG cannot say so, the precise image does."""
    clip = CanonicalVideo(torch.linspace(-1.3, 1.3, 3 * 64).reshape(3, 8, 8), torch.zeros(1, 8, 8, 2))
    clip.save(tmp_path / "clip")
    assert torch.equal(CanonicalVideo.load(tmp_path / "clip").canonical, clip.canonical)


def test_saving_again_replaces_the_clip_and_nothing_else(clip, tmp_path):
    clip.save(tmp_path / "clip")
    clip.with_canonical(Image.new("RGB", (8, 8), (0, 255, 0))).save(tmp_path / "clip")
    assert CanonicalVideo.load(tmp_path / "clip").canonical.shape == (3, 8, 8)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(InputError, match=r"holiday\.jpg"):
        clip.save(tmp_path / "photos")
    assert (tmp_path / "photos" / "holiday.jpg").read_bytes() == b"precious"
    (tmp_path / "clip" / "notes.txt").write_text("precious")
    with pytest.raises(InputError, match=r"notes\.txt"):
        clip.save(tmp_path / "clip")


@pytest.mark.parametrize("size", [(16, 16), (270, 481), (7, 1000)])
def test_zero_field_shows_the_canonical_image_bit_for_bit(size):
    image = torch.rand(3, *size) * 2 - 1
    frames = CanonicalVideo(image, torch.zeros(2, *size, 2)).render()
    assert torch.equal(frames, image.expand(2, -1, -1, -1))


def test_chosen_frames(clip):
    everything = clip.render()
    assert torch.equal(clip.render(frames=[3, 0, 3]), everything[[3, 0, 3]])
    for wrong in ([5], [-1], []):
        with pytest.raises(InputError, match="frame"):
            clip.render(frames=wrong)


def test_frames_come_in_chunks(clip, monkeypatch):
    whole = clip.render()
    monkeypatch.setattr("gendef.video.base.CHUNK_PIXELS", 24 * 20 * 2)
    chunks = list(clip.iter_frames())
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    assert torch.equal(torch.cat(chunks), whole)


def test_mp4_has_the_frames_size_and_colours(clip, tmp_path):
    import av

    smooth = CanonicalVideo(torch.zeros(3, 24, 20) + torch.tensor([0.5, -0.2, 0.1])[:, None, None], clip.deformation)
    smooth.to_mp4(tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 5 and frames[0].shape == (24, 20, 3)
    assert np.abs(frames[2].astype(int) - [191, 102, 140]).max() <= 3
    smooth.to_gif(tmp_path / "clip.gif", size=(48, 40))
    with Image.open(tmp_path / "clip.gif") as gif:
        assert gif.size == (40, 48)


def test_accepts_arrays_and_pil_images():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    field = np.zeros((1, 8, 10, 2), np.float32)
    first = CanonicalVideo(pixels, field)
    second = CanonicalVideo(Image.fromarray(pixels), torch.from_numpy(field))
    assert torch.equal(first.canonical, second.canonical)
    torch.testing.assert_close(first.canonical, torch.from_numpy(pixels).movedim(2, 0) / 127.5 - 1)


def test_transparent_edits_keep_what_they_do_not_cover(clip):
    overlay = np.zeros((24, 20, 4), np.uint8)
    overlay[:12] = (255, 255, 255, 255)
    edited = clip.with_canonical(overlay)
    assert (edited.canonical[:, :12] == 1).all()
    assert torch.equal(edited.canonical[:, 12:], clip.canonical[:, 12:])
    small = clip.with_canonical(overlay[::2, ::2])
    assert small.canonical.shape == clip.canonical.shape
    assert (small.canonical[:, :11] == 1).all()
    assert torch.equal(small.canonical[:, 13:], clip.canonical[:, 13:])
    large = clip.with_canonical(overlay.repeat(4, 0).repeat(4, 1))
    assert large.canonical.shape == (3, 96, 80)
    assert (clip.canonical[:, :12] != 1).any(), "the clip itself is as it was"


def test_rendering_at_another_size_samples_the_canonical_image():
    fine = torch.zeros(3, 256, 256)
    fine[:, ::2] = 1.0
    clip = CanonicalVideo(fine, torch.zeros(1, 16, 16, 2))
    torch.testing.assert_close(clip.render(size=(256, 256))[0], fine, atol=1e-4, rtol=0)
    small = clip.render()
    torch.testing.assert_close(small, torch.full_like(small, 0.5), atol=0.05, rtol=0), "no aliasing"


def test_canonical_flow_is_the_change_of_sampling_positions(clip):
    flow = clip.flow("canonical")
    expected = (clip.deformation[1:] - clip.deformation[:-1]) * torch.tensor([10.0, 12.0])
    torch.testing.assert_close(flow, expected)
    with pytest.raises(InputError, match="canonical or image"):
        clip.flow("sideways")


@pytest.mark.parametrize(
    ("canonical", "field", "message"),
    [
        (torch.zeros(4, 8, 8), torch.zeros(1, 8, 8, 2), "floating image must be"),
        (torch.zeros(3, 8, 8), torch.zeros(1, 8, 8, 3), "must be floating"),
        (torch.zeros(3, 8, 8), torch.zeros(0, 8, 8, 2), "must be floating"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), torch.zeros(1, 8, 8, 2), "must be uint8, or floating"),
        (torch.full((3, 8, 8), float("nan")), torch.zeros(1, 8, 8, 2), "not finite"),
        (torch.full((3, 8, 8), 200.0), torch.zeros(1, 8, 8, 2), "up to 200"),
        (torch.zeros(3, 0, 8), torch.zeros(1, 8, 8, 2), "empty"),
        ("canonical.png", torch.zeros(1, 8, 8, 2), "an array or a tensor, got str"),
        (torch.zeros(3, 8, 8), torch.full((1, 8, 8, 2), float("inf")), "not finite"),
    ],
)
def test_bad_values_are_named(canonical, field, message):
    with pytest.raises(InputError, match=message):
        CanonicalVideo(canonical, field)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_impossible_frame_rates(fps):
    with pytest.raises(InputError, match="fps must be between"):
        CanonicalVideo(torch.zeros(3, 8, 8), torch.zeros(1, 8, 8, 2), fps)


def damage_meta(folder, **changes):
    meta = json.loads((folder / "video.json").read_text())
    (folder / "video.json").write_text(json.dumps({**meta, **changes}))


def nan_field(folder):
    path = folder / "deformation.safetensors"
    data = bytearray(path.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    data[start + 40 : start + 44] = struct.pack("<f", float("nan"))
    path.write_bytes(data)


def no_field(folder):
    from safetensors.torch import save_file

    save_file({"canonical": torch.zeros(3, 24, 20)}, folder / "deformation.safetensors")


def huge_header(folder):
    path = folder / "deformation.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + path.read_bytes()[8:])


def pickle_as_field(folder):
    torch.save({"deformation": torch.zeros(1)}, folder / "deformation.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "video.json").unlink(), "has no video.json"),
        (lambda f: (f / "canonical.png").unlink(), "does not exist"),
        (lambda f: (f / "deformation.safetensors").unlink(), "is missing"),
        (lambda f: (f / "video.json").write_text("{"), "damaged"),
        (lambda f: (f / "canonical.png").write_bytes(b"no image"), "not a readable image"),
        (lambda f: damage_meta(f, version=99), "clip format 99"),
        (lambda f: damage_meta(f, format="other"), "does not describe"),
        (lambda f: damage_meta(f, frames=2**23), "video.json says"),
        (lambda f: damage_meta(f, height=-4), "height .*-4"),
        (lambda f: damage_meta(f, fps=0), "fps must be between"),
        (lambda f: damage_meta(f, made=[]), "made must be a table"),
        (lambda f: damage_meta(f, canonical_sha256=None), "canonical_sha256 is missing"),
        (lambda f: (f / "video.json").write_text("[" * 100_000), "damaged"),
        (no_field, "it has no 'deformation'"),
        (nan_field, "not finite"),
        (huge_header, "its header claims"),
        (pickle_as_field, "cannot be used"),
        (
            lambda f: (f / "deformation.safetensors").write_bytes((f / "deformation.safetensors").read_bytes()[:-9]),
            "does not fit",
        ),
    ],
)
def test_damaged_and_hostile_folders_are_refused(clip, tmp_path, damage, message):
    clip.save(tmp_path / "clip")
    damage(tmp_path / "clip")
    with pytest.raises(ClipError, match=message):
        CanonicalVideo.load(tmp_path / "clip")


def test_a_failed_save_leaves_nothing(clip, tmp_path, monkeypatch):
    clip.save(tmp_path / "clip")
    before = clip.deformation.clone()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gendef.media.video_writer.VideoWriter.append", fail)
    with pytest.raises(OSError, match="No space"):
        CanonicalVideo(clip.canonical, before * 2).save(tmp_path / "clip")
    assert torch.equal(CanonicalVideo.load(tmp_path / "clip").deformation, before), "the old clip is intact"
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]
