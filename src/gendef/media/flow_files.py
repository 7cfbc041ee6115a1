"""Optical flow in files: Middlebury .flo, and .npz written in a stream."""

import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from gendef.errors import InputError
from gendef.runtime.atomic_file import replacing

TAG = b"PIEH"
UNKNOWN = 1e10
"""Written where the flow is not known; readers take anything beyond 1e9 as unknown."""


def write_flo(path: str | Path, flow: np.ndarray) -> None:
    """Write flow (H, W, 2) in pixels as Middlebury .flo; what is not a number becomes the format's "unknown"."""
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise InputError(f"a flow must be (H, W, 2), got {flow.shape}")
    known = np.isfinite(flow).all(axis=-1, keepdims=True)
    values = np.where(known, flow, UNKNOWN).astype("<f4")
    with replacing(Path(path)) as temporary, open(temporary, "wb") as file:
        file.write(TAG + struct.pack("<ii", flow.shape[1], flow.shape[0]))
        file.write(values.tobytes())


def read_flo(path: str | Path) -> np.ndarray:
    """A Middlebury .flo as float32 (H, W, 2), NaN where unknown.

    Raises:
        InputError: missing, of another format, or of another length than its header says.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    with path.open("rb") as file:
        header = file.read(12)
        if len(header) != 12 or header[:4] != TAG:
            raise InputError(f"{path} is not a .flo file")
        width, height = struct.unpack("<ii", header[4:])
        if min(width, height) < 1 or path.stat().st_size != 12 + 8 * width * height:
            raise InputError(f"{path} says {width}x{height}, which does not fit its {path.stat().st_size} bytes")
        flow = np.frombuffer(file.read(), "<f4").reshape(height, width, 2).astype(np.float32)
    flow[(np.abs(flow) > 1e9).any(axis=-1)] = np.nan
    return flow


def write_flow_npz(path: str | Path, flows: Iterable[np.ndarray], shape: tuple[int, int, int, int]) -> None:
    """Write flows (H, W, 2) as one array `flow`, float32 of `shape` (T - 1, H, W, 2), that never is in memory whole.

    Raises:
        InputError: there are fewer or more flows than announced, or one has another shape.
    """
    count = 0
    with replacing(Path(path)) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("flow.npy", "w", force_zip64=True) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            npy_format.write_array_header_1_0(file, header)
            for flow in flows:
                if flow.shape != shape[1:]:
                    raise InputError(f"a flow of {flow.shape} does not fit {shape}")
                file.write(np.ascontiguousarray(flow, "<f4").tobytes())
                count += 1
        if count != shape[0]:
            raise InputError(f"{count} flows were given, {shape[0]} announced")
