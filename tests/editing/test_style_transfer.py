import pickle

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from gendef.editing.style_transfer import apply_style, load_style
from gendef.errors import InputError, ModelError

LENGTHS = {"conv1": (4, 3, 9), "conv2": (6, 4, 3), "conv3": (8, 6, 3), "conv4": (3, 4, 9)}


def tensorflow_weights():
    """A narrow network of fast-style-transfer with random weights."""
    torch.manual_seed(0)
    shapes = {name: (out, into, size, size) for name, (out, into, size) in LENGTHS.items()}
    shapes |= {f"res{i}.{j}": (8, 8, 3, 3) for i in range(5) for j in (0, 1)}
    shapes |= {"up1": (8, 6, 3, 3), "up2": (6, 4, 3, 3)}
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = torch.randn(shape) * 0.2
        channels = shape[1] if name.startswith("up") else shape[0]
        weights[f"{name}.scale"], weights[f"{name}.shift"] = torch.rand(channels) + 0.5, torch.randn(channels)
    return weights


class Example(torch.nn.Module):
    """PyTorch's example network, narrow, from its published description: the reference for the loader."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2, self.conv3 = Conv(3, 4, 9, 1), Conv(4, 6, 3, 2), Conv(6, 8, 3, 2)
        self.in1, self.in2, self.in3 = (torch.nn.InstanceNorm2d(n, affine=True) for n in (4, 6, 8))
        for i in range(1, 6):
            setattr(self, f"res{i}", Residual(8))
        self.deconv1, self.deconv2, self.deconv3 = Conv(8, 6, 3, 1), Conv(6, 4, 3, 1), Conv(4, 3, 9, 1)
        self.in4, self.in5 = (torch.nn.InstanceNorm2d(n, affine=True) for n in (6, 4))

    def forward(self, x):
        for conv, norm in ((self.conv1, self.in1), (self.conv2, self.in2), (self.conv3, self.in3)):
            x = norm(conv(x)).relu()
        for i in range(1, 6):
            x = getattr(self, f"res{i}")(x)
        for conv, norm in ((self.deconv1, self.in4), (self.deconv2, self.in5)):
            x = norm(conv(F.interpolate(x, scale_factor=2, mode="nearest"))).relu()
        return self.deconv3(x)


class Conv(torch.nn.Module):
    def __init__(self, into, out, size, stride):
        super().__init__()
        self.pad = torch.nn.ReflectionPad2d(size // 2)
        self.conv2d = torch.nn.Conv2d(into, out, size, stride)

    def forward(self, x):
        return self.conv2d(self.pad(x))


class Residual(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = Conv(width, width, 3, 1), Conv(width, width, 3, 1)
        self.in1 = torch.nn.InstanceNorm2d(width, affine=True)
        self.in2 = torch.nn.InstanceNorm2d(width, affine=True)

    def forward(self, x):
        return x + self.in2(self.conv2(self.in1(self.conv1(x)).relu()))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_pytorch_example_paints_what_its_modules_paint(tmp_path, suffix):
    network = Example().eval()
    path = tmp_path / f"candy{suffix}"
    if suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        save_file(network.state_dict(), path)
    image = torch.rand(3, 20, 24) * 2 - 1
    with torch.no_grad():
        expected = (network((image[None] + 1) * 127.5)[0] / 127.5 - 1).clamp(-1, 1)
    assert torch.allclose(load_style(path)(image), expected, atol=1e-4)


def test_the_tensorflow_network_by_brute_force(tmp_path):
    weights = tensorflow_weights()
    save_file(weights, tmp_path / "wave.safetensors")
    image = torch.rand(3, 16, 20) * 2 - 1
    double = {name: value.double() for name, value in weights.items()}

    def same_conv(x, name, stride=1):
        """TensorFlow's SAME: output i reads inputs from i * stride - floor(total / 2)."""
        weight = double[f"{name}.weight"]
        size = weight.shape[2]
        out = -(-x.shape[2] // stride), -(-x.shape[3] // stride)
        total = [max((out[d] - 1) * stride + size - x.shape[2 + d], 0) for d in (0, 1)]
        x = F.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
        return F.conv2d(x, weight, stride=stride)

    def norm(x, name):
        x = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True, unbiased=False) + 1e-3).sqrt()
        return x * double[f"{name}.scale"][:, None, None] + double[f"{name}.shift"][:, None, None]

    def transposed(x, name):
        """The gradient of a SAME convolution of stride 2 with respect to its input, which is what TensorFlow means."""
        weight = double[f"{name}.weight"]
        target = torch.zeros(
            1, weight.shape[1], 2 * x.shape[2], 2 * x.shape[3], dtype=torch.float64, requires_grad=True
        )
        y = F.conv2d(F.pad(target, (0, 1, 0, 1)), weight, stride=2)
        return torch.autograd.grad(y, target, x)[0]

    x = (image[None].double() + 1) / 2
    for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2)):
        x = norm(same_conv(x, name, stride), name).relu()
    for i in range(5):
        x = x + norm(same_conv(norm(same_conv(x, f"res{i}.0"), f"res{i}.0").relu(), f"res{i}.1"), f"res{i}.1")
    for name in ("up1", "up2"):
        x = norm(transposed(x, name), name).relu()
    expected = ((150 * norm(same_conv(x, "conv4"), "conv4").tanh() + 127.5) / 127.5 - 1).clamp(-1, 1)[0]
    assert torch.allclose(load_style(tmp_path / "wave.safetensors")(image).double(), expected, atol=1e-4)


def test_sides_that_are_no_multiples_of_four_keep_their_size(tmp_path):
    save_file(tensorflow_weights(), tmp_path / "wave.safetensors")
    style = load_style(tmp_path / "wave.safetensors")
    assert apply_style(torch.zeros(3, 21, 30), style).shape == (3, 21, 30)
    assert apply_style(torch.zeros(3, 20, 30), style, side=32).shape == (3, 32, 48)
    with pytest.raises(InputError, match="at least 16 pixels, got 4"):
        apply_style(torch.zeros(3, 20, 30), style, side=4)


def onnx_file(path, shape=(1, 3, "h", "w")):
    """A network that inverts colours."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)
    inverted = onnx.helper.make_tensor_value_info("inverted", onnx.TensorProto.FLOAT, shape)
    white = onnx.helper.make_tensor("white", onnx.TensorProto.FLOAT, [], [255.0])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Sub", ["white", "image"], ["inverted"])], "style", [image], [inverted], [white]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def test_onnx_networks_of_any_and_of_fixed_size(tmp_path):
    image = torch.rand(3, 16, 24) * 2 - 1
    free = load_style(onnx_file(tmp_path / "free.onnx"))
    assert torch.allclose(free(image), -image, atol=1e-5)
    fixed = load_style(onnx_file(tmp_path / "fixed.onnx", (1, 3, 32, 32)))
    assert fixed(image).shape == image.shape
    assert torch.allclose(fixed(torch.full((3, 16, 24), 0.5)), torch.full((3, 16, 24), -0.5), atol=1e-5)
    with pytest.raises(ModelError, match="must take one image"):
        load_style(onnx_file(tmp_path / "grey.onnx", (1, 1, 8, 8)))


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle was run')",))


def test_wrong_style_files_are_refused(tmp_path):
    with pytest.raises(ModelError, match="there is no style file"):
        load_style(tmp_path / "none.pth")
    (tmp_path / "hostile.pth").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelError, match=r"hostile\.pth is not"):
        load_style(tmp_path / "hostile.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="not a readable file of weights"):
        load_style(tmp_path / "broken.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="fast_neural_style"):
        load_style(tmp_path / "other.safetensors")


def test_broken_onnx_is_refused(tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not a readable ONNX file"):
        load_style(tmp_path / "broken.onnx")
