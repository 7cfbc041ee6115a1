"""`gendef track --to`: the files of each program, and what they say of a moving point."""

import re

import pytest
import torch

from gendef import CanonicalVideo
from gendef.cli.main import main
from gendef.errors import InputError
from gendef.interchange.tracks import write_track_files

NAMES = {
    "nuke": {"tracks.nk", "corner_pin.nk"},
    "ae": {"track001.txt", "track002.txt", "track003.txt", "track004.txt", "corner_pin.txt"},
    "blender": {"tracks_blender.py"},
}


@pytest.mark.parametrize("target", NAMES)
def test_the_command_writes_them(tmp_path, target):
    field = torch.zeros(3, 32, 48, 2)
    field[1, ..., 0], field[2, ..., 0] = -2 * 2 / 48, -2 * 4 / 48  # content moves right by 2 pixels a frame
    CanonicalVideo(torch.rand(3, 32, 48) * 2 - 1, field).save(tmp_path / "clip")
    points = ["8,6", "20,6", "20,20", "8,20"]
    out = tmp_path / "out"
    assert (
        main(["track", str(tmp_path / "clip"), "--points", *points, "--frame", "0", "--to", target, "--out", str(out)])
        == 0
    )
    assert NAMES[target] <= {path.name for path in out.iterdir()}
    if target == "ae":
        assert "\t2\t12.5000\t6.5000\t0" in (out / "track001.txt").read_text()
    elif target == "nuke":
        x = re.search(r'"track 1" \{curve x1 (\S+) x2 (\S+) x3 ([\d.]+)\}', (out / "tracks.nk").read_text()).groups()
        assert [float(value) for value in x] == pytest.approx([8.5, 10.5, 12.5], abs=1e-4)
        assert "from3 {20.500000 11.500000}" in (out / "corner_pin.nk").read_text()
    else:
        assert "gendef 004" in (out / "tracks_blender.py").read_text()


def test_another_program_is_refused(tmp_path):
    with pytest.raises(InputError, match="maya"):
        write_track_files(tmp_path, "maya", torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool), (8, 8), 25, "a")
    assert list(tmp_path.iterdir()) == []
