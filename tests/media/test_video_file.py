"""Video files against what libav says of them frame by frame, and the kinds that were read wrongly once."""

from pathlib import Path

import av
import numpy as np
import pytest

from gendef.errors import DataError, InputError
from gendef.media.colour import ColourTags
from gendef.media.video_file import FrameConverter, decode_video, examine_video

FOOTAGE = Path(__file__).parents[1] / "data" / "footage"
BUNNY = Path(__file__).parents[1] / "data" / "clips" / "bigbuckbunny.mp4"
SMALL = ColourTags(6, 6, 6)


def plain_frames(name, stream=0):
    """Frames as libav's own filter `format` converts them."""
    with av.open(str(FOOTAGE / name)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.video[stream])]


class TestConverter:
    @pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p", "yuvj420p"])
    def test_quick_conversion_gives_the_same_pixels(self, pan, pixels):
        frame = av.VideoFrame.from_ndarray(pan(1, 38, 70)[0], format="rgb24").reformat(format=pixels)
        tags = ColourTags(6, 6, 6, full_range=pixels.startswith("yuvj"))
        image, alpha = FrameConverter(tags, 1.0)(frame)
        np.testing.assert_array_equal(image, frame.to_ndarray(format="rgb24"))
        assert alpha is None

    def test_wide_pixels_become_square(self, pan):
        frame = av.VideoFrame.from_ndarray(pan(1, 36, 60)[0], format="rgb24").reformat(format="yuv420p")
        assert FrameConverter(SMALL, 4 / 3)(frame)[0].shape == (36, 80, 3)

    @pytest.mark.parametrize(("matrix", "kr", "kb"), [(6, 0.299, 0.114), (1, 0.2126, 0.0722), (9, 0.2627, 0.0593)])
    def test_the_matrix_is_the_one_of_the_tags(self, matrix, kr, kb):
        y, u, v = 120, 90, 170
        frame = av.VideoFrame(32, 32, "yuv444p")
        for plane, value in zip(frame.planes, (y, u, v), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        image, _ = FrameConverter(ColourTags(matrix, matrix, matrix), 1.0)(frame)
        # ITU-T H.273, section 8.3: Y' = kr R + (1 - kr - kb) G + kb B, limited range.
        luma, cb, cr = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
        red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
        green = (luma - kr * red - kb * blue) / (1 - kr - kb)
        np.testing.assert_allclose(image[16, 16], 255 * np.array([red, green, blue]), atol=1.5)


class TestTags:
    def test_tagged_bars_are_right_to_a_level(self):
        (frame, *_) = decode_video(FOOTAGE / "bars709.mp4")
        with av.open(str(FOOTAGE / "bars709.mp4")) as container:
            decoded = next(container.decode(video=0))
            luma = decoded.to_ndarray()[: decoded.height].astype(float)
            graph = av.filter.Graph()
            nodes = (
                graph.add_buffer(template=container.streams.video[0]),
                graph.add("format", "gbrp"),
                graph.add("buffersink"),
            )
            nodes[0].link_to(nodes[1])
            nodes[1].link_to(nodes[2])
            graph.configure()
            graph.push(decoded)
            expected = graph.pull().to_ndarray(format="rgb24").astype(float)
        flat = np.abs(np.diff(luma, axis=1, prepend=luma[:, :1])) == 0
        for shift in range(1, 4):  # away from the edges of bars, where chroma is interpolated in several ways
            flat &= np.roll(flat, shift, axis=1) & np.roll(flat, -shift, axis=1)
        assert flat.mean() > 0.5
        assert np.abs(frame.image.astype(float) - expected)[flat].max() <= 1

    @pytest.mark.parametrize(("height", "matrix"), [(719, 6), (720, 1), (1080, 1)])
    def test_untagged_files_follow_their_height(self, height, matrix):
        assert ColourTags().resolved(height).matrix == matrix
        assert ColourTags(matrix=9).resolved(height).matrix == 9


def test_hdr_is_tone_mapped_and_said():
    facts = examine_video(FOOTAGE / "hlg.mp4")
    assert facts.tags.hdr and facts.bits == 10
    assert any("HDR" in note and "HLG" in note for note in facts.notes)
    (frame, *_) = decode_video(FOOTAGE / "hlg.mp4")
    with av.open(str(BUNNY)) as container:  # what the HDR file was made from
        original = next(container.decode(video=0)).reformat(320, 180, "rgb24", interpolation="AREA").to_ndarray()
    difference = frame.image.astype(float) - original
    assert np.abs(difference).mean() < 12  # 35 without tone mapping
    assert abs(difference.mean()) < 6


def test_interlaced_video_is_deinterlaced_and_said():
    assert any("interlaced" in note for note in examine_video(FOOTAGE / "interlaced.mp4").notes)
    frames = [frame.image.astype(float) for frame in decode_video(FOOTAGE / "interlaced.mp4")]
    combed = plain_frames("interlaced.mp4")
    assert len(frames) == len(combed)

    def combing(image):
        """Energy between neighbouring rows over that between every second row."""
        rows = np.asarray(image, float).mean(axis=-1)
        return np.abs(rows[1:] - rows[:-1]).mean() / np.abs(rows[2:] - rows[:-2]).mean()

    before, after = (np.mean([combing(image) for image in clip]) for clip in (combed, frames))
    assert after < 0.85 * before


def test_alpha_is_kept():
    facts = examine_video(FOOTAGE / "transparent.gif")
    frames = list(decode_video(FOOTAGE / "transparent.gif"))
    assert facts.alpha and all(frame.alpha is not None for frame in frames)
    with av.open(str(FOOTAGE / "transparent.gif")) as container:
        expected = [frame.to_ndarray(format="rgba")[..., 3] for frame in container.decode(video=0)]
    np.testing.assert_array_equal(np.stack([frame.alpha for frame in frames]), np.stack(expected))
    assert 0 < np.mean(expected) < 255


def test_times_are_those_of_the_file():
    times = [frame.time for frame in decode_video(FOOTAGE / "vardelay.gif")]
    assert times[:7] == pytest.approx([0.04 * t for t in range(7)])
    assert times[7] == pytest.approx(0.64)


def test_an_impossible_rate_is_replaced_and_said():
    facts = examine_video(FOOTAGE / "cuts.mp4")
    assert facts.fps == 25 and not facts.fps_known
    assert any("--fps" in note for note in facts.notes)
    assert [frame.time for frame in decode_video(FOOTAGE / "cuts.mp4")][:3] == pytest.approx([0, 0.04, 0.08])


def test_the_film_is_read_and_not_its_cover():
    facts = examine_video(FOOTAGE / "cover_first.mkv")
    assert (facts.width, facts.height, facts.stream) == (320, 180, 1)
    assert len(list(decode_video(FOOTAGE / "cover_first.mkv"))) == 12
    assert examine_video(FOOTAGE / "cover_first.mkv", 0).height == 300
    with pytest.raises(InputError, match="7"):
        examine_video(FOOTAGE / "cover_first.mkv", 7)


def test_what_is_no_video(tmp_path):
    path = tmp_path / "words.mp4"
    path.write_bytes(b"no video at all" * 100)
    for read in (examine_video, lambda path: list(decode_video(path))):
        with pytest.raises(DataError, match=r"words\.mp4"):
            read(path)
