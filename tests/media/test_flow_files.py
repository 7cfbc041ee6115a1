import struct

import numpy as np
import pytest

from gendef.errors import InputError
from gendef.media.flow_files import read_flo, write_flo, write_flow_npz


def test_flo_is_exact_and_as_specified(tmp_path):
    flow = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    flow[1, 2] = np.nan
    write_flo(tmp_path / "a.flo", flow)
    data = (tmp_path / "a.flo").read_bytes()
    assert struct.unpack("<fii", data[:12]) == (202021.25, 5, 3)
    assert struct.unpack("<ff", data[12:20]) == tuple(flow[0, 0].tolist())
    assert struct.unpack("<f", data[12 + 8 * 7 : 16 + 8 * 7])[0] > 1e9, "unknown in the format's way"
    np.testing.assert_array_equal(read_flo(tmp_path / "a.flo"), flow)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .flo file"),
        (b"PIEX" + struct.pack("<ii", 1, 1) + bytes(8), "not a .flo file"),
        (b"PIEH" + struct.pack("<ii", 2, 1) + bytes(8), "says 2x1"),
        (b"PIEH" + struct.pack("<ii", -1, -1) + bytes(8), "says -1x-1"),
        (b"PIEH" + struct.pack("<ii", 2**30, 2**30) + bytes(8), "does not fit its 20 bytes"),
    ],
)
def test_damaged_flo_files_are_refused(tmp_path, data, message):
    (tmp_path / "a.flo").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_flo(tmp_path / "a.flo")


def test_missing_and_misshapen(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_flo(tmp_path / "a.flo")
    with pytest.raises(InputError, match=r"must be \(H, W, 2\)"):
        write_flo(tmp_path / "a.flo", np.zeros((3, 3, 3)))


def test_streamed_npz_is_an_ordinary_one(tmp_path):
    flows = np.random.default_rng(0).normal(size=(4, 3, 5, 2)).astype(np.float32)
    write_flow_npz(tmp_path / "a.npz", iter(flows), flows.shape)
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["flow"], flows)


@pytest.mark.parametrize("shape", [(3, 3, 5, 2), (5, 3, 5, 2), (4, 5, 3, 2)])
def test_npz_of_another_shape_is_not_written(tmp_path, shape):
    with pytest.raises(InputError):
        write_flow_npz(tmp_path / "a.npz", iter(np.zeros((4, 3, 5, 2), np.float32)), shape)
    assert list(tmp_path.iterdir()) == []
