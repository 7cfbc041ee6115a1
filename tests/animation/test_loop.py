import torch

from gendef.animation.loop import passes


def test_one_pass_begins_with_the_photograph():
    (only,) = passes(5, 0.5, loop=False)
    assert only.times.tolist() == [0, 0.5, 1, 1.5, 2]
    assert only.shares.tolist() == [1] * 5


def test_a_loop_has_two_passes_that_share_the_picture():
    first, second = passes(8, 2.0, loop=True)
    assert torch.allclose(first.shares + second.shares, torch.ones(8))
    assert first.times.tolist() == [2.0 * t for t in range(8)]
    assert torch.equal(second.times, first.times - 16)


def test_a_loop_begins_with_the_first_and_ends_in_the_second_pass():
    first, second = passes(64, 1.0, loop=True)
    assert (first.times[0], first.shares[0]) == (0, 1)
    assert second.times[-1] == -1
    assert second.shares[-1] > 0.99
