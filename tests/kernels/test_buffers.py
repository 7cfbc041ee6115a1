"""Feature maps in memory."""

import pytest
import torch

from gendef.kernels.buffers import ALIGNMENT, empty_map, rows_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_map_is_aligned_channels_last_and_no_view(dtype: torch.dtype) -> None:
    x = empty_map(2, 3, 4, 5, dtype)
    assert x.shape == (2, 3, 4, 5) and x.dtype == dtype
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x.data_ptr() % ALIGNMENT == 0
    assert not x._is_view()
    x.fill_(1.0)
    assert float(x.sum()) == 120


def test_rows_share_memory_with_a_channels_last_map_and_copy_any_other() -> None:
    x = torch.arange(120.0).view(2, 3, 4, 5)
    rows = rows_of(x)
    assert rows.shape == (2, 4, 15)
    assert torch.equal(rows.view(2, 4, 5, 3).permute(0, 3, 1, 2), x)
    last = x.contiguous(memory_format=torch.channels_last)
    assert rows_of(last).data_ptr() == last.data_ptr()
    assert torch.equal(rows_of(last), rows)
    assert torch.equal(rows_of(x[:, :, :1, :1]).flatten(), x[:, :, 0, 0].flatten())
