import json
import re

import numpy as np
import pytest
import torch

from gendef import CanonicalVideo
from gendef.errors import InputError
from gendef.geometry import identity_grid
from gendef.visualization.field_codec import FieldCodec, packed
from gendef.visualization.html_export import write_html


def unpacked(data, nodes, frames):
    """The inverse of `packed`, written the way the page does it: sums that wrap around."""
    import zlib

    low, high = np.frombuffer(zlib.decompress(data), np.uint8).astype(np.uint16).reshape(2, frames, 2, *nodes)
    values = low | (high << 8)
    return values.cumsum(axis=-1, dtype=np.uint16).cumsum(axis=0, dtype=np.uint16).view(np.int16)


def test_packing_loses_nothing_even_where_differences_wrap_around():
    nodes = np.random.default_rng(0).integers(-32768, 32767, (3, 2, 5, 7), dtype=np.int16)
    nodes[1, :, :, ::2] = 32767
    nodes[1, :, :, 1::2] = -32768
    assert (unpacked(packed(nodes), (5, 7), 3) == nodes).all()


@pytest.mark.parametrize("size", [(16, 16), (17, 30), (1, 9)])
@pytest.mark.parametrize("spacing", [1, 2, 4, 8])
def test_linear_fields_are_kept_at_every_spacing(size, spacing):
    grid = identity_grid(*size).numpy().astype(np.float64)
    field = (grid @ np.array([[0.1, 0.05], [-0.2, 0.3]]) + [0.2, -0.1])[None]
    step = (1e-4, 1e-4)
    codec = FieldCodec(size, spacing, step)
    assert np.abs(codec.field_of(codec.nodes_of(field)) - field).max() <= 1e-4
    zero = np.zeros_like(field)
    assert (codec.field_of(codec.nodes_of(zero)) == 0).all()


def test_a_spacing_of_one_only_rounds():
    field = np.random.default_rng(0).normal(size=(2, 6, 7, 2)) * 0.1
    codec = FieldCodec((6, 7), 1, (0.01, 0.02))
    error = np.abs(codec.field_of(codec.nodes_of(field)) - field).reshape(-1, 2).max(axis=0)
    assert error[0] <= 0.005001 and error[1] <= 0.010001


@pytest.fixture
def clip():
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.randn(3, 2, 3, 3), (40, 60), mode="bicubic").movedim(1, -1)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 17), (50, 70), mode="bicubic")[0] * 2 - 1
    return CanonicalVideo(image, smooth * 0.05, 12.5)


def meta_of(text):
    return json.loads(re.search(r'id="meta">(.*?)</script>', text)[1])


def test_the_page_stands_alone(clip, tmp_path):
    clip.info = {"model": "<b>sky", "content_seed": 3, "motion_seed": 4}
    shares = []
    report = write_html(tmp_path / "a.html", clip, title="</title><script>", on_progress=shares.append)
    text = (tmp_path / "a.html").read_text()
    assert report.bytes == (tmp_path / "a.html").stat().st_size
    assert "http:" not in text and "https:" not in text and "{{" not in text
    assert "default-src 'none'" in text
    assert "</title><script>" not in text and "<b>sky" not in text
    # The data of the page and of its layer (field, illumination, alpha), and the code.
    assert text.count("<script") == 5
    meta = meta_of(text)
    assert meta["frames"] == 3 and meta["size"] == [40, 60] and meta["fps"] == 12.5
    assert meta["view"] == [280, 420] and meta["layers"][0]["paint"] == [300, 420]
    assert report.offset_error <= 0.25 and report.grey_levels <= 0.5
    assert shares == sorted(shares) and shares[-1] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_a_rough_field_gets_more_nodes(clip, tmp_path):
    assert write_html(tmp_path / "a.html", clip, title="a").spacing > 1
    rough = CanonicalVideo(clip.canonical, torch.randn(3, 40, 60, 2) * 0.05)
    assert write_html(tmp_path / "b.html", rough, title="b").spacing == 1


def test_limit(clip, tmp_path):
    rough = CanonicalVideo(clip.canonical, torch.randn(20, 40, 60, 2) * 0.05)
    free = write_html(tmp_path / "a.html", rough, title="a")
    tight = write_html(tmp_path / "b.html", rough, title="b", limit=free.bytes - 1)
    assert tight.spacing > 1 and tight.bytes < free.bytes and tight.grey_levels > free.grey_levels
    with pytest.raises(InputError, match=r"0\.\d MB.* 0\.02 MB"):
        write_html(tmp_path / "c.html", rough, title="c", limit=20_000)
    assert not (tmp_path / "c.html").exists()


def test_large_offsets_fit_into_16_bits(tmp_path):
    field = torch.zeros(2, 16, 16, 2)
    field[1, ..., 0] = 1000.0
    clip = CanonicalVideo(torch.rand(3, 2000, 16), field)
    write_html(tmp_path / "a.html", clip, title="a")
    step = meta_of((tmp_path / "a.html").read_text())["layers"][0]["step"]
    assert step[0] == pytest.approx(1000 / 2**14) and step[1] == pytest.approx(2 / 16 / 2000)
