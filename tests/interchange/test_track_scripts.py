"""Scripts for other programs: parsed again by hand, compared with the pixel conventions of each program."""

import ast
import re

import pytest
import torch

from gendef.errors import InputError
from gendef.interchange.after_effects import corner_pin_keyframes, position_keyframes
from gendef.interchange.blender import tracking_script
from gendef.interchange.nuke import ScriptClip, clip_script, corner_pin_script, tracker_script

SIZE = (100, 200)
CORNERS = torch.tensor([[[0.0, 0], [1, 2]], [[199, 0], [199, 3]], [[199, 99], [190, 99]], [[0, 99], [5, 90]]])


def test_after_effects_positions():
    text = position_keyframes(
        torch.tensor([[0.0, 0.0], [9.25, 19.5], [3, 4]]), torch.tensor([True, True, False]), SIZE, 25
    )
    rows = re.findall(r"^\t(\d+)\t([\d.]+)\t([\d.]+)\t0\r?$", text, re.M)
    assert [(int(a), float(b), float(c)) for a, b, c in rows] == [(0, 0.5, 0.5), (1, 9.75, 20)]
    assert text.startswith("Adobe After Effects 8.0 Keyframe Data") and "End of Keyframe Data" in text
    assert "Source Width\t200" in text and "Source Height\t100" in text and "Units Per Second\t25" in text


def test_after_effects_corner_pin():
    text = corner_pin_keyframes(CORNERS, SIZE, 25)
    first = {
        number: tuple(map(float, re.search(rf"Pin-{number}\r\n.*\r\n\t0\t([\d.]+)\t([\d.]+)", text).groups()))
        for number in ("0001", "0002", "0003", "0004")
    }
    # Parameters 1 to 4 of the effect: upper left, upper right, lower left, lower right.
    assert first == {"0001": (0.5, 0.5), "0002": (199.5, 0.5), "0003": (0.5, 99.5), "0004": (199.5, 99.5)}
    with pytest.raises(InputError, match="3"):
        corner_pin_keyframes(CORNERS[:3], SIZE, 25)


def test_nuke_counts_from_the_bottom():
    text = tracker_script(torch.tensor([[[0.0, 0.0], [10, 99]]]), torch.tensor([[True, False]]), 100, 1001)
    x, y = re.search(r'"track 1" \{curve ([^}]*)\} \{curve ([^}]*)\}', text).groups()
    assert x == "x1001 0.500000" and y == "x1001 99.500000"
    assert text.count("{") == text.count("}")
    row = re.search(r"\{ (\{curve K.*) \}$", text, re.M).group(1)
    assert len(re.findall(r'\{[^{}]*\}|"[^"]*"|[-\d.]+', row)) == 31  # columns of Tracker4's table


def test_nuke_corner_pin():
    text = corner_pin_script(CORNERS, 100, 1, reference=1)
    assert "from1 {1.500000 97.500000}" in text
    assert "to3 {{curve x1 199.500000 x2 190.500000} {curve x1 0.500000 x2 0.500000}}" in text
    with pytest.raises(InputError):
        corner_pin_script(CORNERS[:2], 100, 1, 0)


def test_nuke_clip():
    text = clip_script(
        ScriptClip(200, 100, 300, 150, 1, 8, 25.0), "canonical.exr", "stmap.%04d.exr", "stmap_inverse.%04d.exr"
    )
    assert text.count("{") == text.count("}")
    for part in ("canonical.exr", "stmap.%04d.exr", "stmap_inverse.%04d.exr", "STMap {", "last_frame 8", "RotoPaint"):
        assert part in text


def test_nuke_joins_the_painted_image_and_the_map():
    text = clip_script(ScriptClip(200, 100, 300, 150, 1, 8, 25.0), "c.exr", "stmap.%04d.exr", "inverse.%04d.exr")
    stack, inputs = [], {}
    for body in re.findall(r"^\w+ \{\n(.*?)^\}", text, re.M | re.S):
        name = re.search(r"^ name (\w+)", body, re.M)
        if name is None:
            continue  # Root
        count = re.search(r"^ inputs (\d+)", body, re.M)
        inputs[name[1]] = [stack.pop() for _ in range(int(count[1]) if count else 1)]
        stack.append(name[1])
    # Input 0 of STMap is the picture, input 1 the map; Nuke takes inputs from the top of the stack, input 0 first.
    assert inputs["Frames"] == ["PaintHere", "STMapOfFrames"]
    assert inputs["PaintHere"] == ["CanonicalImage"] and inputs["WriteFrames"] == ["Frames"]


def test_blender_markers():
    text = tracking_script(torch.tensor([[[0.0, 0.0], [199, 99]]]), torch.tensor([[True, False]]), SIZE, "my.mp4")
    tree = ast.parse(text)
    tracks = next(
        ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "TRACKS"
    )
    assert tracks == {"gendef 001": [[1, 0.0025, 0.995, True], [2, 0.9975, 0.005, False]]}
