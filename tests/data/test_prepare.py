"""Many sources to one archive: contents, determinism, and everything that can go wrong."""

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendef.data import PrepareConfig, VideoArchive, prepare
from gendef.data.prepare import LOCK
from gendef.errors import DataError
from gendef.runtime.file_lock import locked

SMALL = PrepareConfig(resolution=16, format="png")


@pytest.fixture
def videos(tmp_path, write_video, write_folder, pan):
    """Three sources of 12, 8 and 5 frames."""
    write_video(tmp_path / "videos" / "a.mp4", pan(12, 32, 64, 1))
    write_folder(tmp_path / "videos" / "b", pan(8, 32, 48, 2))
    write_video(tmp_path / "videos" / "c.mp4", pan(5, 32, 32, 3), 10)
    return tmp_path / "videos"


def leftovers(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "videos")


def test_contents(tmp_path, videos):
    report = prepare([videos], tmp_path / "out" / "set.zip", SMALL)
    assert (report.num_clips, report.num_frames) == (3, 25)
    assert report.bytes == (tmp_path / "out" / "set.zip").stat().st_size
    assert len(report.warnings) == 1 and "different frame rates" in report.warnings[0] and report.skipped == []
    with zipfile.ZipFile(tmp_path / "out" / "set.zip") as archive:
        names = archive.namelist()
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        text = archive.read("dataset.json").decode()
    assert names[:2] == ["00000-a/000000.png", "00000-a/000001.png"] and names[-1] == "dataset.json"
    assert str(tmp_path) not in text, "an archive must not tell where it was made"
    meta = json.loads(text)
    assert meta["format"] == "gendef-data" and meta["version"] == 1 and meta["resolution"] == 16
    assert meta["settings"]["resolution"] == 16 and meta["classes"] == []
    assert [(c["source"], c["frames"], c["fps"]) for c in meta["clips"]] == [
        ("a.mp4", 12, 25),
        ("b", 8, 25),
        ("c.mp4", 5, 10),
    ]
    assert [clip["box"] for clip in meta["clips"]] == [[16, 0, 48, 32], [8, 0, 40, 32], [0, 0, 32, 32]]
    json.dumps(report.to_dict())
    assert "clips" not in report.to_dict()


def test_same_bytes_whatever_the_number_of_workers(tmp_path, videos):
    prepare([videos], tmp_path / "one.zip", SMALL, workers=1)
    prepare([videos], tmp_path / "again.zip", SMALL, workers=1)
    prepare([videos], tmp_path / "two.zip", SMALL, workers=2)
    one = (tmp_path / "one.zip").read_bytes()
    assert one == (tmp_path / "again.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_labels_from_folders(tmp_path, write_video, pan):
    for name in ("wave/1.mp4", "bend/1.mp4", "wave/2.mp4"):
        write_video(tmp_path / "videos" / name, pan(4, 16, 16))
    config = PrepareConfig(resolution=16, labels="folder")
    report = prepare([tmp_path / "videos"], tmp_path / "set.zip", config)
    assert report.metadata["classes"] == ["bend", "wave"]
    assert [(clip["source"], clip["label"]) for clip in report.metadata["clips"]] == [
        ("bend/1.mp4", 0),
        ("wave/1.mp4", 1),
        ("wave/2.mp4", 1),
    ]


def test_a_prepared_archive_is_a_source_that_keeps_origin_rate_and_class(tmp_path, videos):
    prepare([videos], tmp_path / "big.zip", PrepareConfig(resolution=32, format="png", labels="folder"))
    report = prepare([tmp_path / "big.zip"], tmp_path / "small.zip", PrepareConfig(resolution=16, labels="folder"))
    assert [(c["source"], c["frames"], c["fps"]) for c in report.metadata["clips"]] == [
        ("a.mp4", 12, 25),
        ("b", 8, 25),
        ("c.mp4", 5, 10),
    ]
    assert report.metadata["classes"] == ["videos"]


@pytest.mark.parametrize("workers", [1, 2])
def test_unreadable_files_are_named_skipped_and_counted(tmp_path, videos, workers):
    (videos / "bad.mp4").write_bytes(b"not a video")
    (videos / "b" / "3.png").write_bytes(b"not an image")
    report = prepare([videos], tmp_path / "set.zip", SMALL, workers=workers)
    assert report.metadata["counts"]["unreadable"] == 1 and report.metadata["counts"]["sources"] == 4
    assert [entry["source"] for entry in report.skipped] == ["b: 3.png", "bad.mp4"]
    assert all(str(tmp_path) not in entry["reason"] and entry["reason"] for entry in report.skipped)
    assert [clip["frames"] for clip in report.metadata["clips"]] == [12, 3, 4, 5]


def test_nothing_readable_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "bad.mp4").write_bytes(b"not a video")
    with pytest.raises(DataError, match=r"none of the 1 sources can be read; the first, bad\.mp4"):
        prepare([tmp_path / "videos"], tmp_path / "set.zip", SMALL)
    assert leftovers(tmp_path) == []


def test_short_clips_are_dropped_with_a_message(tmp_path, videos):
    report = prepare([videos], tmp_path / "set.zip", PrepareConfig(resolution=16, min_frames=6))
    assert report.num_clips == 2 and report.metadata["counts"]["dropped_clips"] == 1
    assert "fewer than 6 frames: 1" in report.warnings[0]
    with pytest.raises(DataError, match="lower --min-frames"):
        prepare([videos], tmp_path / "none.zip", PrepareConfig(resolution=16, min_frames=60))
    assert leftovers(tmp_path) == ["set.zip"]


def test_enlarging_and_slow_sources_are_told(tmp_path, videos):
    report = prepare([videos], tmp_path / "set.zip", PrepareConfig(resolution=64, fps=20))
    assert any("enlarged" in text and "b (48x32)" in text for text in report.warnings)
    assert any("slower than 20" in text and "c.mp4 (10)" in text for text in report.warnings)


@pytest.mark.parametrize("bad", ["folder", "workers", "self", "missing"])
def test_bad_calls(tmp_path, videos, write_zip, pan, bad):
    source, out, workers = videos, tmp_path / "set.zip", 1
    if bad == "folder":
        out.mkdir()
    elif bad == "workers":
        workers = 0
    elif bad == "self":
        source = write_zip(out, {"clip": pan(4)})
        before = out.read_bytes()
    else:
        source = tmp_path / "nowhere"
    with pytest.raises(DataError, match=r"folder|workers|one of the sources|nowhere"):
        prepare([source], out, SMALL, workers=workers)
    if bad == "self":
        assert out.read_bytes() == before


def test_progress(tmp_path, videos):
    seen = []
    prepare([videos], tmp_path / "set.zip", SMALL, workers=1, progress=seen.append)
    assert (seen[-1].frames_done, seen[-1].frames_total) == (25, 25)
    assert seen[-1].sources_total == 3
    assert [s.frames_done for s in seen] == sorted(s.frames_done for s in seen)


def test_a_dead_worker_ends_the_run_with_its_message(tmp_path, write_video, pan):
    for name in "abcd":
        write_video(tmp_path / "videos" / f"{name}.mp4", pan(60, 96, 128))
    killed = []

    def kill(_) -> None:
        for child in multiprocessing.active_children() if not killed else []:
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(DataError, match=r"a worker process died while reading .*\.mp4"):
        prepare([tmp_path / "videos"], tmp_path / "set.zip", SMALL, workers=2, progress=kill)
    assert killed and leftovers(tmp_path) == []
    assert not multiprocessing.active_children()


def test_stopping_stops_the_workers_and_leaves_nothing(tmp_path, write_video, pan):
    for name in "abcd":
        write_video(tmp_path / "videos" / f"{name}.mp4", pan(60, 96, 128))

    def stop(_) -> None:
        raise KeyboardInterrupt

    (tmp_path / "set.zip").write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt):
        prepare([tmp_path / "videos"], tmp_path / "set.zip", SMALL, workers=2, progress=stop)
    assert leftovers(tmp_path) == ["set.zip"] and (tmp_path / "set.zip").read_bytes() == b"older"
    assert not multiprocessing.active_children()


FULL_DISK = """
import sys
from pathlib import Path
from gendef.data import PrepareConfig, prepare
from gendef.errors import DataError
if __name__ == "__main__":
    try:
        prepare([sys.argv[1]], sys.argv[2], PrepareConfig(resolution=64, format="png"), workers=int(sys.argv[3]))
    except DataError as error:
        print(error)
"""


@pytest.mark.parametrize(("workers", "share"), [(1, 0.1), (2, 0.1), (1, 0.9)])
def test_a_full_disk_leaves_nothing(tmp_path, write_folder, pan, workers, share):
    """Files that may not grow to a share of the archive: two stop at encoded frames, one at the archive itself."""
    for name in "ab":
        write_folder(tmp_path / "videos" / name, pan(12, 64, 64, 1))
    whole = prepare([tmp_path / "videos"], tmp_path / "whole.zip", PrepareConfig(resolution=64, format="png"))
    limit = int(whole.bytes * share)
    (tmp_path / "script.py").write_text(FULL_DISK)
    (tmp_path / "out").mkdir()
    arguments = (tmp_path / "script.py", tmp_path / "videos", tmp_path / "out" / "set.zip", workers)
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "set.zip cannot be written: File too large" in done.stdout, done.stderr
    assert leftovers(tmp_path / "out") == []


def test_whole_way_from_video_to_tensor(tmp_path, write_video, pan):
    frames = pan(10, 32, 32, 7)
    write_video(tmp_path / "v.mp4", frames)
    prepare([tmp_path / "v.mp4"], tmp_path / "set.zip", PrepareConfig(resolution=32))
    read = VideoArchive(tmp_path / "set.zip").read_frames(0, range(10)).permute(0, 2, 3, 1).numpy()
    assert np.abs(read.astype(int) - frames).mean() < 8


def test_clip_names_are_safe_file_names(tmp_path, write_folder, pan):
    write_folder(tmp_path / "odd näme: 100% (1)", pan(4, 16, 16))
    prepare([tmp_path / "odd näme: 100% (1)"], tmp_path / "set.zip", SMALL)
    assert VideoArchive(tmp_path / "set.zip").clip_names == ["00000-odd_n_me_100_1"]


def test_frames_at_the_root_of_a_zip(tmp_path, pan):
    with zipfile.ZipFile(tmp_path / "flat.zip", "w") as archive:
        for index, frame in enumerate(pan(4, 16, 16)):
            Image.fromarray(frame).save(tmp_path / "f.png")
            archive.write(tmp_path / "f.png", f"{index}.png")
    report = prepare([tmp_path / "flat.zip"], tmp_path / "set.zip", SMALL)
    assert (report.num_clips, report.num_frames) == (1, 4)


PREPARE = """
import sys
from gendef.data import PrepareConfig, prepare
if __name__ == "__main__":
    prepare([sys.argv[1]], sys.argv[2], PrepareConfig(resolution=256, format="png"), workers=2)
"""


def test_workers_end_with_a_killed_parent_and_the_next_run_clears_its_files(tmp_path, write_video, pan):
    for number in range(6):
        write_video(tmp_path / "videos" / f"{number}.mp4", pan(200, 64, 64, number))
    script, out = tmp_path / "script.py", tmp_path / "out" / "set.zip"
    script.write_text(PREPARE)
    main = subprocess.Popen([sys.executable, str(script), str(tmp_path / "videos"), str(out)])
    until(lambda: list(out.parent.glob(".set-*.tmp/*.frames")))
    workers = children(main.pid)
    main.kill()
    main.wait()
    assert workers
    until(lambda: not any(running(worker) for worker in workers))
    assert len(list(out.parent.glob(".set-*.tmp"))) == 1
    # Another's folder that is still in use stays.
    used = out.parent / ".set-used.tmp"
    used.mkdir()
    with locked(used / LOCK):
        prepare([tmp_path / "videos" / "0.mp4"], out, SMALL, workers=1)
    assert sorted(path.name for path in out.parent.iterdir()) == [".set-used.tmp", "set.zip"]


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def children(pid):
    """Process ids of the direct children of a process (Linux)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and parent_of(entry) == pid:
            found.append(int(entry.name))
    return found


def parent_of(entry):
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def running(pid):
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_links_to_nothing_are_skipped_and_counted(tmp_path, videos):
    for name in ("gone.mp4", "gone.zip"):
        (videos / name).symlink_to(tmp_path / "nothing" / name)
    (videos / "b" / "zzz.png").symlink_to(tmp_path / "nothing.png")
    report = prepare([videos], tmp_path / "set.zip", SMALL, workers=1)
    assert report.num_clips == 3 and report.metadata["counts"]["unreadable"] == 2
    assert sorted(entry["source"] for entry in report.skipped) == ["b: zzz.png", "gone.mp4", "gone.zip"]


def test_different_frame_rates_are_told(tmp_path, videos):
    (warning,) = prepare([videos], tmp_path / "a.zip", SMALL, workers=1).warnings
    assert "10 to 25" in warning and "--fps" in warning
