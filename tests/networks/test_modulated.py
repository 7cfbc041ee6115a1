import pytest
import torch
import torch.nn.functional as F

from gendef.networks.modulated import ModulatedConv2d


def per_sample_convolution(layer, x, w):
    """Modulated convolution as the papers write it: one weight tensor for every sample."""
    styles = layer.affine(w)
    weight = layer.weight
    if not layer.demodulate:
        styles = styles * layer.fan_in_gain
    if layer.normalize:
        weight = weight * weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
        styles = styles * styles.square().mean().rsqrt()
    outputs = []
    for sample, style in zip(x, styles, strict=True):
        own = weight * style[None, :, None, None]
        if layer.demodulate:
            own = own * (own.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).rsqrt()
        outputs.append(F.conv2d(sample[None], own, padding=layer.padding))
    return torch.cat(outputs)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_equals_per_sample_weights(demodulate, kernel):
    torch.manual_seed(0)
    layer = ModulatedConv2d(5, 4, kernel, 7, demodulate=demodulate, normalize=demodulate).double()
    x, w = torch.randn(3, 5, 6, 6).double(), torch.randn(3, 7).double()
    torch.testing.assert_close(layer(x, w), per_sample_convolution(layer, x, w))


@pytest.mark.parametrize("demodulate", [True, False])
def test_frames_of_a_video_share_its_weights(demodulate):
    torch.manual_seed(0)
    layer = ModulatedConv2d(5, 4, 3, 7, demodulate=demodulate).double()
    x, w, bias = torch.randn(6, 5, 6, 6).double(), torch.randn(2, 7).double(), torch.randn(4).double()
    expected = (per_sample_convolution(layer, x, w.repeat_interleave(3, 0)) + bias[:, None, None]) * 1.5
    torch.testing.assert_close(layer(x, w, bias=bias, gain=1.5), expected)
    # One video alone: styles and scales are in the weights.
    torch.testing.assert_close(layer(x[:3], w[:1], bias=bias, gain=1.5), expected[:3])


@pytest.mark.parametrize("videos", [1, 2])
@pytest.mark.parametrize("kind", ["plain", "up", "mtm"])
def test_shared_channels_give_what_joining_them_to_every_frame_gives(kind, videos):
    torch.manual_seed(0)
    layer = ModulatedConv2d(5, 4, 3, 7, up=kind == "up", mtm=kind == "mtm").double()
    if kind == "mtm":
        with torch.no_grad():
            layer.dcn_scales.fill_(0.5)
    x, shared = torch.randn(3 * videos, 3, 6, 6).double(), torch.randn(videos, 2, 6, 6).double()
    w, bias = torch.randn(videos, 7).double(), torch.randn(4).double()
    joined = layer(torch.cat((x, shared.repeat_interleave(3, 0)), dim=1), w, bias=bias, gain=1.5)
    ready = layer.modulate(w, torch.float64, shared=shared, gain=1.5)
    torch.testing.assert_close(layer.convolve(x, ready, bias), joined)


def test_gradients_with_shared_channels():
    torch.manual_seed(0)
    layer = ModulatedConv2d(4, 2, 3, 3).double()
    x, shared, w = torch.randn(4, 2, 4, 4), torch.randn(2, 2, 4, 4), torch.randn(2, 3)
    inputs = [value.double().requires_grad_() for value in (x, shared, w, torch.randn(2))]

    def result(x, shared, w, bias):
        return layer.convolve(x, layer.modulate(w, torch.float64, shared=shared), bias)

    assert torch.autograd.gradcheck(result, inputs)


def test_bias_and_gain():
    torch.manual_seed(0)
    layer = ModulatedConv2d(5, 4, 3, 7)
    x, w, bias = torch.randn(2, 5, 6, 6), torch.randn(2, 7), torch.randn(4)
    expected = (layer(x, w) + bias[:, None, None]) * 1.5
    torch.testing.assert_close(layer(x, w, bias=bias, gain=1.5), expected)


def test_mtm_starts_as_an_ordinary_modulated_convolution():
    torch.manual_seed(0)
    layer = ModulatedConv2d(5, 4, 3, 7, mtm=True)
    x, w = torch.randn(2, 5, 6, 6), torch.randn(2, 7)
    torch.testing.assert_close(layer(x, w), per_sample_convolution(layer, x, w), atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        layer.dcn_bias[:, :18] = 0.3
    assert not torch.allclose(layer(x, w), per_sample_convolution(layer, x, w), atol=1e-2)
