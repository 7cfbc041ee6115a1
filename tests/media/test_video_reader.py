"""Finding and reading videos."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gendef.errors import DataError
from gendef.media.sources import discover
from gendef.media.still_images import decode_image
from gendef.media.video_reader import (
    Damage,
    Frame,
    probe,
    read_frames,
)
from gendef.media.zips import natural_key, open_zip, safe_member


def images(source) -> list[np.ndarray]:
    return [item.image for item in read_frames(source) if isinstance(item, Frame)]


def test_natural_order():
    names = ["f10.png", "f9.png", "f1.png", "a2b10.png", "a2b9.png", "²", "f1"]
    assert sorted(names, key=natural_key)[:2] == ["a2b9.png", "a2b10.png"]
    assert [n for n in sorted(names, key=natural_key) if n.startswith("f") and "." in n] == [
        "f1.png",
        "f9.png",
        "f10.png",
    ]


@given(st.lists(st.text(max_size=12), max_size=8))
def test_natural_order_exists_for_any_names(names):
    ordered = sorted(names, key=natural_key)
    assert sorted(ordered) == sorted(names)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("clip/0.png", True),
        ("clip/..0.png", True),
        ("../0.png", False),
        ("clip/../../0.png", False),
        ("/etc/0.png", False),
        ("C:/0.png", False),
        ("clip\\..\\..\\0.png", False),
        ("\\server\\0.png", False),
    ],
)
def test_safe_member(name, safe):
    assert safe_member(name) is safe


@pytest.mark.parametrize("name", ["../0.png", "/tmp/0.png", "a/../../0.png"])
def test_zip_with_names_outside_is_refused(tmp_path, write_zip, pan, name):
    path = write_zip(tmp_path / "evil.zip", {"clip": pan(3)}, {name: b"x"})
    with pytest.raises(DataError, match="refused"):
        open_zip(path)
    with pytest.raises(DataError, match="refused"):
        discover([path])


def test_mix_of_kinds_in_natural_order_each_once(tmp_path, write_video, write_folder, write_zip, pan):
    write_video(tmp_path / "all" / "v10.mp4", pan(4))
    write_video(tmp_path / "all" / "v9.mp4", pan(4))
    write_folder(tmp_path / "all" / "deep" / "er" / "frames", pan(12))
    write_zip(tmp_path / "all" / "z.zip", {"classA/c10": pan(3), "classA/c9": pan(3)})
    (tmp_path / "all" / "notes.txt").write_text("no video")
    (tmp_path / "all" / ".hidden").mkdir()
    found = discover([tmp_path / "all", tmp_path / "all" / "v9.mp4"])
    assert [source.identity for source in found] == [
        "deep/er/frames",
        "v9.mp4",
        "v10.mp4",
        "z.zip:classA/c9",
        "z.zip:classA/c10",
    ]
    assert [source.label for source in found] == ["er", "all", "all", "classA", "classA"]
    assert [len(images(source)) for source in found] == [12, 4, 4, 3, 3]


def test_sources_of_one_name_keep_identities_apart(tmp_path, write_video, pan):
    paths = [write_video(tmp_path / folder / "x.mp4", pan(3)) for folder in ("a", "b")]
    assert [source.identity for source in discover(paths)] == ["a/x.mp4", "b/x.mp4"]


def test_only_and_exclude(tmp_path, write_video, pan):
    for name in ("s1", "s2", "t1"):
        write_video(tmp_path / f"{name}.mp4", pan(3))
    assert [s.identity for s in discover([tmp_path], only=["s*"])] == ["s1.mp4", "s2.mp4"]
    assert [s.identity for s in discover([tmp_path], exclude=["s2*", "t*"])] == ["s1.mp4"]
    with pytest.raises(DataError, match="leave none of the 3"):
        discover([tmp_path], only=["q*"])


def test_folder_frames_come_in_natural_order_and_exact(tmp_path, write_folder, pan):
    frames = pan(12)
    read = list(read_frames(discover([write_folder(tmp_path / "clip", frames)])[0]))
    np.testing.assert_array_equal(np.stack([item.image for item in read]), frames)
    assert [item.index for item in read] == list(range(12))
    assert read[5].time == pytest.approx(5 / 25)


def test_a_link_back_up_ends(tmp_path, write_folder, pan):
    write_folder(tmp_path / "a" / "clip", pan(3))
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a", target_is_directory=True)
    assert len(discover([tmp_path / "a"])) == 1


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".mp4", "libx264"),
        (".mov", "libx264"),
        (".mkv", "libx264"),
        (".avi", "mpeg4"),
        (".webm", "libvpx"),
        (".gif", ""),
    ],
)
def test_video_formats(tmp_path, write_video, pan, suffix, codec):
    frames = pan(10, 32, 48)
    source = discover([write_video(tmp_path / f"v{suffix}", frames, 10, codec)])[0]
    read = [item for item in read_frames(source) if isinstance(item, Frame)]
    assert len(read) == 10
    assert np.abs(np.stack([item.image for item in read]).astype(int) - frames).mean() < 12
    assert [item.time for item in read] == pytest.approx([t / 10 for t in range(10)], abs=0.01)
    assert probe(source).fps == pytest.approx(10, abs=0.01)


def test_video_filmed_sideways_is_turned_upright(tmp_path, write_video, pan):
    import av

    plain = write_video(tmp_path / "plain.mp4", pan(3, 32, 64))
    turned = tmp_path / "turned.mov"
    with av.open(str(plain)) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write display rotations")
        stream.set_display_rotation(90)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    upright, original = images(discover([turned])[0]), images(discover([plain])[0])
    assert upright[0].shape == (64, 32, 3)
    np.testing.assert_array_equal(upright[0], np.rot90(original[0]))


def test_damaged_files_are_named(tmp_path, write_folder, write_video, pan):
    folder = write_folder(tmp_path / "clip", pan(5))
    (folder / "2.png").write_bytes(b"no image")
    read = list(read_frames(discover([folder])[0]))
    assert [isinstance(item, Damage) for item in read] == [False, False, True, False, False]
    assert read[2].where == "2.png"
    assert [item.index for item in read if isinstance(item, Frame)] == [0, 1, 3, 4]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0" * 1000)
    with pytest.raises(DataError, match=r"broken\.mp4"):
        list(read_frames(discover([broken])[0]))
    assert probe(discover([broken])[0]).frames == 0


def test_truncated_video_gives_the_frames_before_the_damage(tmp_path, write_video, pan):
    whole = write_video(tmp_path / "whole.mkv", pan(60, 64, 96))
    data = whole.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) // 2])
    read = list(read_frames(discover([cut])[0]))
    assert 0 < sum(isinstance(item, Frame) for item in read) < 60


@pytest.mark.parametrize("what", ["missing", "empty", "text", "no zip", "nothing"])
def test_paths_without_video(tmp_path, what):
    path = tmp_path / "x"
    if what == "empty":
        path.mkdir()
    elif what == "text":
        path.write_text("hello")
    elif what == "no zip":
        path = tmp_path / "x.zip"
        path.write_bytes(b"PK no")
    with pytest.raises(DataError, match=r"x|no source"):
        discover([] if what == "nothing" else [path])


class TestDecodeImage:
    def encode(self, image: Image.Image, kind: str = "PNG", **options) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    def test_grey_palette_and_16_bit(self):
        grey = np.arange(0, 256, 4, np.uint8).reshape(8, 8)
        expected = np.repeat(grey[..., None], 3, axis=2)
        np.testing.assert_array_equal(decode_image(self.encode(Image.fromarray(grey)), "x"), expected)
        deep = Image.fromarray(grey.astype(np.uint16) * 257)
        np.testing.assert_array_equal(decode_image(self.encode(deep), "x"), expected)
        palette = Image.fromarray(grey).convert("P")
        np.testing.assert_array_equal(decode_image(self.encode(palette), "x"), expected)

    def test_transparency_is_black(self):
        rgba = np.full((2, 2, 4), 200, np.uint8)
        rgba[0, :, 3], rgba[1, :, 3] = 255, 0
        decoded = decode_image(self.encode(Image.fromarray(rgba)), "x")
        assert decoded[0].tolist() == [[200] * 3] * 2 and decoded[1].max() == 0

    def test_camera_orientation(self):
        image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10)
        exif = Image.Exif()
        exif[0x0112] = 6
        decoded = decode_image(self.encode(image, exif=exif), "x")
        np.testing.assert_array_equal(decoded, np.rot90(np.asarray(image), -1))

    @given(st.binary(max_size=200))
    def test_any_bytes_give_an_image_or_a_named_error(self, data):
        try:
            assert decode_image(data, "frame 7").ndim == 3
        except DataError as error:
            assert "frame 7" in str(error)

    @given(st.integers(1, 300), st.integers(0, 255))
    def test_a_damaged_file_gives_an_image_or_a_named_error(self, place, value):
        data = bytearray(self.encode(Image.fromarray(np.zeros((8, 8, 3), np.uint8)), "JPEG"))
        data[place % len(data)] = value
        try:
            assert decode_image(bytes(data), "frame 7").ndim == 3
        except DataError as error:
            assert "frame 7" in str(error)


def test_damaged_zip_member_is_named(tmp_path, write_zip, pan):
    path = write_zip(tmp_path / "z.zip", {"clip": pan(4)})
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("clip/1.png")
    data = bytearray(path.read_bytes())
    data[info.header_offset + 60] ^= 0xFF
    path.write_bytes(data)
    read = list(read_frames(discover([path])[0]))
    assert [item.where for item in read if isinstance(item, Damage)] == ["clip/1.png"]
    assert sum(isinstance(item, Frame) for item in read) == 3


def test_source_of_a_single_frame_at_the_root_of_a_zip(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(buffer, "PNG")
    path = Path(tmp_path / "flat.zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0.png", buffer.getvalue())
    source = discover([path])[0]
    assert source.label == "flat" and len(images(source)) == 1
