import dataclasses

import pytest
import torch
from safetensors.torch import save_file

from gendef.data.motions import MotionSet, joined
from gendef.errors import DataError


def motion_set(count=3, label="sky", name="a.mp4", keys=5, grid=8):
    generator = torch.Generator().manual_seed(count)
    return MotionSet(
        fields=(torch.rand(count, keys, grid, grid, 2, generator=generator) * 0.1).half(),
        visible=torch.full((count, keys, grid, grid), 255, dtype=torch.uint8),
        images=torch.randint(0, 256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8),
        source=torch.zeros(count, dtype=torch.int32),
        start=torch.arange(count, dtype=torch.int32),
        span=torch.full((count,), 65, dtype=torch.int32),
        psnr=torch.full((count,), 30.0),
        still_psnr=torch.full((count,), 25.0),
        sources=({"name": name, "label": label, "fps": 25.0, "frames": 70, "windows": count, "left_out": 0},),
        key_times=tuple(float(time) for time in range(-4 * (keys // 2), 4 * (keys // 2) + 1, 4)),
        settings={"span": 65},
    )


def test_saved_and_loaded_it_is_the_same(tmp_path):
    one = motion_set()
    one.save(tmp_path / "sky.motions")
    loaded = MotionSet.load(tmp_path / "sky.motions")
    assert torch.equal(loaded.fields, one.fields) and torch.equal(loaded.images, one.images)
    assert loaded.sources == one.sources and loaded.key_times == one.key_times and loaded.settings == one.settings


def test_joined_sets_keep_their_sources_apart():
    both = joined([motion_set(2), motion_set(3, "water", "b.mp4")])
    assert both.source.tolist() == [0, 0, 1, 1, 1]
    assert both.labels == ("sky", "water")
    assert len(both.chosen(torch.tensor([4, 0]))) == 2
    assert both.chosen(torch.tensor([4, 0])).source.tolist() == [1, 0]


def test_sets_that_differ_are_not_joined():
    with pytest.raises(DataError):
        joined([motion_set(), motion_set(keys=7)])
    with pytest.raises(DataError):
        joined([])


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.motions"):
        MotionSet.load(tmp_path / "none.motions")
    (tmp_path / "text.motions").write_text("text")
    save_file({"x": torch.ones(1)}, tmp_path / "other.motions")
    for name in ("text.motions", "other.motions"):
        with pytest.raises(DataError, match=name):
            MotionSet.load(tmp_path / name)


def test_tensors_that_do_not_fit_are_refused(tmp_path):
    one = motion_set()
    dataclasses.replace(one, images=one.images[:2]).save(tmp_path / "cut.motions")
    dataclasses.replace(one, source=one.source + 4).save(tmp_path / "wrong.motions")
    for name in ("cut.motions", "wrong.motions"):
        with pytest.raises(DataError, match="damaged"):
            MotionSet.load(tmp_path / name)
