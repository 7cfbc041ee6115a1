import pytest
import torch

from gendef.networks.layers import EqualizedConv2d, EqualizedLinear, MappingNetwork, normalize_second_moment


def test_equalised_linear_scales_weight_and_bias():
    layer = EqualizedLinear(4, 3, bias_init=2.0, lr_multiplier=0.5)
    x = torch.randn(5, 4)
    expected = x @ (layer.weight * 0.5 / 2).t() + layer.bias * 0.5
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.bias * 0.5, torch.full((3,), 2.0))


def test_outputs_keep_unit_variance():
    torch.manual_seed(0)
    layer = EqualizedConv2d(64, 64, 3, activate=False)
    x = torch.randn(4, 64, 16, 16)
    assert float(layer(x)[..., 1:-1, 1:-1].std()) == pytest.approx(1, abs=0.1)


def test_second_moment():
    torch.testing.assert_close(normalize_second_moment(torch.randn(3, 8)).square().mean(dim=1), torch.ones(3))


def test_mapping_average_and_truncation():
    torch.manual_seed(0)
    mapping = MappingNetwork(8, 6, 2)
    w = mapping(torch.randn(64, 8))
    for _ in range(4000):
        mapping.update_average(w)
    torch.testing.assert_close(mapping.w_avg, w.mean(dim=0).detach(), atol=1e-3, rtol=0)
    torch.testing.assert_close(mapping.truncate(w, 0.5), mapping.w_avg + 0.5 * (w - mapping.w_avg))
    assert mapping.truncate(w, 1.0) is w
