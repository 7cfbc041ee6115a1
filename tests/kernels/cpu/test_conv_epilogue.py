"""What follows a convolution, in torch's operators, against its formula."""

import pytest
import torch
import torch.nn.functional as F

from gendef.kernels.cpu.conv_epilogue import NOTHING, Epilogue


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("videos", [1, 3])
@pytest.mark.parametrize("parts", range(8))
def test_every_choice_of_parts(videos: int, parts: int) -> None:
    y = _random(6, 5, 4, 3)
    bias = _random(5, seed=1) if parts & 1 else None
    scales = _random(videos, 5, seed=2) if parts & 2 else None
    added = _random(videos, 5, 4, 3, seed=3) if parts & 4 else None
    wanted = y
    if added is not None:
        wanted = wanted + added.repeat_interleave(6 // videos, dim=0)
    if scales is not None:
        wanted = wanted * scales.repeat_interleave(6 // videos, dim=0)[:, :, None, None]
    if bias is not None:
        wanted = wanted + bias[:, None, None]
    wanted = F.leaky_relu(wanted, 0.2).clamp(-1, 1)
    torch.testing.assert_close(Epilogue(bias, scales, added, 0.2, 1.0)(y.clone()), wanted)
    with torch.no_grad():
        torch.testing.assert_close(Epilogue(bias, scales, added, 0.2, 1.0)(y.clone()), wanted)


def test_nothing_changes_nothing() -> None:
    y = _random(2, 3, 4, 4)
    assert torch.equal(NOTHING(y.clone()), y)


def test_gradients() -> None:
    y, bias, scales, added = _random(4, 3, 2, 2), _random(3, seed=1), _random(2, 3, seed=2), _random(2, 3, 2, 2, seed=3)
    inputs = tuple(x.requires_grad_() for x in (y, bias, scales, added))
    assert torch.autograd.gradcheck(lambda y, b, s, a: Epilogue(b, s, a, 0.2, 1.0)(y * 1), inputs)
