"""Reading archives, ours and other programs'."""

import json
import multiprocessing
import pickle
import threading
import zipfile

import numpy as np
import pytest
import torch

from gendef.data import PrepareConfig, VideoArchive, prepare
from gendef.errors import DataError, InputError


@pytest.fixture
def foreign(tmp_path, write_zip, pan):
    """A zip as StyleGAN-V wants it, its clips of 12 and 5 frames of 16x16, and those frames."""
    clips = {"c2": pan(5, 16, 16, 2), "c10": pan(12, 16, 16, 1)}
    return write_zip(tmp_path / "set.zip", clips), clips


@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_frames_are_exact(foreign, cache_bytes):
    path, clips = foreign
    archive = VideoArchive(path, cache_bytes)
    assert archive.clip_names == ["c2", "c10"] and archive.lengths == [5, 12]
    assert (archive.resolution, archive.num_clips, archive.num_frames, archive.num_classes) == (16, 2, 17, 0)
    assert archive.fps == [25.0, 25.0] and archive.labels is None and archive.sources == ["c2", "c10"]
    for _ in range(2):
        frames = archive.read_frames(1, [11, 0, 3])
        assert frames.dtype == torch.uint8 and frames.shape == (3, 3, 16, 16)
        np.testing.assert_array_equal(frames.permute(0, 2, 3, 1).numpy(), clips["c10"][[11, 0, 3]])


def test_what_is_read_may_be_changed(foreign):
    archive = VideoArchive(foreign[0])
    first = archive.read_frames(0, [0])
    kept = first.clone()
    first.zero_()
    assert torch.equal(archive.read_frames(0, [0]), kept)


def test_cache_is_used(foreign, monkeypatch):
    archive = VideoArchive(foreign[0])
    archive.read_frames(0, [0, 1])
    monkeypatch.setattr(archive, "_decode", None)
    archive.read_frames(0, [1, 0])
    with pytest.raises(TypeError):
        archive.read_frames(0, [2])


@pytest.mark.parametrize(("clip", "indices"), [(2, [0]), (-1, [0]), (0, [5]), (0, [0, -1]), (0, [])])
def test_frames_that_do_not_exist(foreign, clip, indices):
    with pytest.raises(InputError, match=r"does not exist|no frame indices"):
        VideoArchive(foreign[0]).read_frames(clip, indices)


def test_fingerprint_tells_contents(tmp_path, write_zip, pan):
    clips = {"c": pan(3, 16, 16, 1)}
    first, same = (VideoArchive(write_zip(tmp_path / f"{i}.zip", clips)).fingerprint for i in range(2))
    assert first == same and len(first) == 64
    other_name = VideoArchive(write_zip(tmp_path / "3.zip", {"d": clips["c"]})).fingerprint
    other_pixels = VideoArchive(write_zip(tmp_path / "4.zip", {"c": clips["c"][::-1]})).fingerprint
    assert len({first, other_name, other_pixels}) == 3


def test_pickle_threads_and_fork(foreign):
    path, clips = foreign
    archive = VideoArchive(path, cache_bytes=0)
    archive.read_frames(0, [0])
    copy = pickle.loads(pickle.dumps(archive))
    assert torch.equal(copy.read_frames(1, [2]), archive.read_frames(1, [2]))
    wrong = []

    def read(start: int) -> None:
        for index in range(60):
            frame = archive.read_frames(1, [(start + index) % 12])[0].permute(1, 2, 0).numpy()
            if not np.array_equal(frame, clips["c10"][(start + index) % 12]):
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
    if hasattr(multiprocessing, "get_context") and "fork" in multiprocessing.get_all_start_methods():
        child = multiprocessing.get_context("fork").Process(target=read, args=(0,))
        child.start()
        read(5)
        child.join(20)
        assert child.exitcode == 0
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_labels_and_metadata(tmp_path, write_video, pan):
    for name in ("wave/1.mp4", "bend/1.mp4"):
        write_video(tmp_path / "videos" / name, pan(4, 16, 16), 10)
    prepare([tmp_path / "videos"], tmp_path / "set.zip", PrepareConfig(resolution=16, labels="folder"))
    archive = VideoArchive(tmp_path / "set.zip")
    assert archive.classes == ["bend", "wave"] and archive.labels == [0, 1] and archive.num_classes == 2
    assert archive.fps == [10.0, 10.0] and archive.sources == ["bend/1.mp4", "wave/1.mp4"]


class TestBadArchives:
    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match="is not a file"):
            VideoArchive(tmp_path / "no.zip")

    def test_folder(self, tmp_path):
        with pytest.raises(DataError, match="is not a file"):
            VideoArchive(tmp_path)

    def test_no_zip(self, tmp_path):
        (tmp_path / "x.zip").write_bytes(b"hello")
        with pytest.raises(DataError, match="cannot be opened as a zip"):
            VideoArchive(tmp_path / "x.zip")

    def test_truncated(self, foreign):
        data = foreign[0].read_bytes()
        foreign[0].write_bytes(data[: len(data) // 2])
        with pytest.raises(DataError, match="cannot be opened as a zip"):
            VideoArchive(foreign[0])

    def test_no_frames(self, tmp_path, write_zip):
        with pytest.raises(DataError, match="holds no frames"):
            VideoArchive(write_zip(tmp_path / "x.zip", {}, {"readme.txt": b"hello"}))

    @pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png"])
    def test_names_outside(self, tmp_path, write_zip, pan, name):
        with pytest.raises(DataError, match="refused"):
            VideoArchive(write_zip(tmp_path / "x.zip", {"c": pan(3, 16, 16)}, {name: b""}))

    def test_not_square(self, tmp_path, write_zip, pan):
        with pytest.raises(DataError, match="20x16 pixels"):
            VideoArchive(write_zip(tmp_path / "x.zip", {"c": pan(3, 16, 20)}))

    def test_two_sizes(self, tmp_path, write_zip, pan):
        with pytest.raises(DataError, match="32x32 pixels and not 16x16"):
            VideoArchive(write_zip(tmp_path / "x.zip", {"c": pan(3, 16, 16), "d": pan(3, 32, 32)}))

    def test_a_damaged_frame_is_replaced_and_named_once(self, tmp_path, write_zip, pan):
        path = write_zip(tmp_path / "x.zip", {"c": pan(3, 16, 16)}, {"c/8.png": b"broken", "c/9.png": b"broken"})
        said = []
        archive = VideoArchive(path, on_damage=said.append)
        frames = archive.read_frames(0, [2, 3, 3])
        assert torch.equal(frames[1], frames[0]) and torch.equal(frames[2], frames[0])
        assert len(said) == 1 and "c/8.png" in said[0] and list(archive.damaged) == ["c/8.png"]
        # A second one of five is more than 1 %.
        with pytest.raises(DataError, match=r"2 of 5 frames.*--check"):
            archive.read_frames(0, [4])

    def test_a_damaged_first_frame_and_clip(self, tmp_path, write_zip, pan):
        path = write_zip(tmp_path / "x.zip", {"c": pan(3, 16, 16)}, {"b/0.png": b"broken"})
        archive = VideoArchive(path, on_damage=lambda text: None)
        assert archive.clip_names == ["b", "c"] and archive.resolution == 16
        assert torch.equal(archive.read_frames(0, [0]), archive.read_frames(1, [0]))

    def test_check_decodes_every_frame(self, tmp_path, write_zip, pan):
        broken = {"c/9.png": b"broken", "c/8.png": b""}
        archive = VideoArchive(write_zip(tmp_path / "x.zip", {"c": pan(3, 16, 16)}, broken))
        assert set(archive.check()) == set(broken)

    @pytest.mark.parametrize(
        "meta",
        [
            "{",
            {"version": 99},
            {"version": 1, "clips": 3},
            {"version": 1, "clips": [{"frames": 3}]},
            {"version": 1, "clips": [{"name": "c", "fps": 0}]},
            {"version": 1, "classes": ["a"], "clips": [{"name": "c", "label": 1}]},
            {"version": 1, "classes": ["a"], "clips": [{"name": "c"}]},
            {"version": 1, "classes": ["a"], "clips": []},
        ],
    )
    def test_metadata(self, tmp_path, write_zip, pan, meta):
        text = meta if isinstance(meta, str) else json.dumps({"format": "gendef-data", **meta})
        with pytest.raises(DataError, match=r"dataset\.json|data format 99|classes"):
            VideoArchive(write_zip(tmp_path / "x.zip", {"c": pan(3, 16, 16)}, {"dataset.json": text.encode()}))

    @pytest.mark.parametrize("text", ['{"labels": [["c/0.png", 1]]}', "[1, 2]", "null"])
    def test_another_programs_metadata_is_ignored(self, tmp_path, write_zip, pan, text):
        path = write_zip(tmp_path / "x.zip", {"c": pan(3, 16, 16)}, {"dataset.json": text.encode()})
        assert VideoArchive(path).metadata == {}


def test_compressed_zips_are_read_too(tmp_path, foreign):
    path, clips = foreign
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    frames = VideoArchive(tmp_path / "d.zip").read_frames(0, [4])[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(frames, clips["c2"][4])
