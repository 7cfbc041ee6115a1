import pytest

from gendef.bench.sampling import PHASES, bench_sampling, steps


def test_figures_belong_together(tiny_generator):
    calls = []
    report = bench_sampling(tiny_generator, 3, runs=2, on_step=lambda: calls.append(1))
    assert len(calls) == steps(2, True)
    assert set(report["seconds"]) == set(PHASES) and min(report["seconds"].values()) > 0
    assert report["total_seconds"] == pytest.approx(sum(report["seconds"].values()))
    assert report["frames_per_second"] == pytest.approx(3 / report["total_seconds"])
    for phase in PHASES:
        low, high = report["spread"][phase]
        assert low <= report["seconds"][phase] <= high
    assert report["reference"]["timed_frames"] == 3
    # No layer of it is wide enough for Winograd's convolutions.
    assert report["gflop_direct"] == report["gflop"]
    assert report["over_direct"] == report["over_arithmetic"]
    assert report["parameters"] == sum(p.numel() for p in tiny_generator.parameters())


def test_arithmetic_grows_with_the_frames_alone(tiny_generator):
    short, long = (bench_sampling(tiny_generator, count, runs=1, reference=False)["gflop"] for count in (2, 4))
    assert long["fields"] == pytest.approx(2 * short["fields"]) and long["canonical"] == short["canonical"]
    # The last output of G_d alone: 4 outputs of 8 channels at 16x16, a product and a sum each.
    assert short["fields"] > 2 * 2 * 4 * 8 * 16 * 16 / 1e9
