"""Zips of StyleGAN and StyleGAN-V: labels as classes, images as images."""

import json

import pytest

from gendef.data import ClipStream, VideoArchive
from gendef.errors import DataError


def dataset_json(labels):
    return {"dataset.json": json.dumps({"labels": labels}).encode()}


def quiet(path):
    return VideoArchive(path, on_damage=lambda text: None)


@pytest.mark.parametrize(
    "labels",
    [
        [["a/0.png", 2], ["a/1.png", 2], ["b/0.png", 0]],
        {"a": 2, "b": 0},
        [["a", [0, 0, 1]], ["b", [1, 0, 0]]],
    ],
)
def test_labels_become_classes(tmp_path, write_zip, pan, labels):
    clips = {"a": pan(3, 16, 16), "b": pan(3, 16, 16)}
    archive = VideoArchive(write_zip(tmp_path / "x.zip", clips, dataset_json(labels)))
    assert archive.labels == [2, 0] and archive.classes == ["0", "1", "2"]
    batch = ClipStream(archive, 4, 0).batch(0)
    assert batch.labels is not None and batch.labels.shape == (4, 3)


def test_no_labels(tmp_path, write_zip, pan):
    archive = VideoArchive(write_zip(tmp_path / "x.zip", {"a": pan(3, 16, 16)}, dataset_json(None)))
    assert archive.labels is None and archive.classes == []


@pytest.mark.parametrize("labels", [{"a": 1}, {"a": 1, "b": [0.5, 0.5]}, {"a": 1, "b": -1}, {"a": 1, "b": "x"}, [1, 2]])
def test_labels_that_cannot_be_used(tmp_path, write_zip, pan, labels):
    path = write_zip(tmp_path / "x.zip", {"a": pan(3, 16, 16), "b": pan(3, 16, 16)}, dataset_json(labels))
    with pytest.raises(DataError, match=r"dataset\.json"):
        VideoArchive(path)


def images(tmp_path, write_zip, pan, names):
    """A zip with images of these names."""
    import io

    from PIL import Image

    members = {}
    for name, frame in zip(names, pan(len(names), 16, 16), strict=True):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "PNG")
        members[name] = file.getvalue()
    return write_zip(tmp_path / "x.zip", {}, members)


@pytest.mark.parametrize("pattern", ["00000/img{:08d}.png", "{}.png"])
def test_images_are_clips_of_one_frame(tmp_path, write_zip, pan, pattern):
    path = images(tmp_path, write_zip, pan, [pattern.format(number) for number in range(4)])
    said = []
    archive = VideoArchive(path, on_damage=said.append)
    assert archive.lengths == [1] * 4 and "4 single images" in said[0]
    assert ClipStream(archive, 2, 0, 1).batch(0).video.shape == (2, 1, 3, 16, 16)
    with pytest.raises(DataError, match="pretrain"):
        ClipStream(archive, 2, 0)


def test_labelled_images(tmp_path, write_zip, pan):
    names = [f"00000/img{number:08d}.png" for number in range(3)]
    path = images(tmp_path, write_zip, pan, names)
    import zipfile

    with zipfile.ZipFile(path, "a") as archive:
        labels = [[name, number] for number, name in enumerate(names)]
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    assert quiet(path).labels == [0, 1, 2]
