import numpy as np
import pytest
import torch

from gendef import CanonicalVideo
from gendef.errors import InputError
from gendef.visualization.figure import figure, figure_frames


@pytest.fixture
def clip():
    field = torch.zeros(5, 16, 24, 2)
    field[:, :, :, 0] = torch.linspace(0, 0.4, 5)[:, None, None]
    canonical = torch.full((3, 30, 50), -1.0)
    canonical[0] = 1  # red
    return CanonicalVideo(canonical, field, 10)


def near(image, colour, slack=2):
    return (np.abs(image.astype(int) - colour).max(axis=-1) <= slack).sum()


def test_figure_holds_canonical_frames_and_fields(clip):
    picture = figure(clip, count=3, side=32)
    cell = 32 * 48
    red = near(picture, (255, 0, 0))
    canonical_area = 68 * 113
    assert red >= 0.95 * (canonical_area + 3 * cell + cell), "canonical image, three frames, and the last field in full"
    assert picture.shape[1] > picture.shape[0]
    assert figure(clip, count=50, side=32).shape[1] > picture.shape[1], "as many frames as there are"


def test_moving_figure_has_one_picture_a_frame(clip):
    pictures = list(figure_frames(clip, side=32))
    assert len(pictures) == 5 and len({picture.shape for picture in pictures}) == 1
    # The field: white at first, at the end all pixels look right.
    assert near(pictures[4], (255, 0, 0)) - near(pictures[0], (255, 0, 0)) > 0.9 * 32 * 48


def test_still_clip_of_one_pixel():
    assert figure(CanonicalVideo(torch.zeros(3, 1, 1), torch.zeros(1, 1, 1, 2)), side=16).ndim == 3


def test_impossible_sizes(clip):
    with pytest.raises(InputError, match="at least 1 frame"):
        figure(clip, count=0)
    with pytest.raises(InputError, match="16 pixels"):
        figure(clip, side=3)
    with pytest.raises(InputError, match="16 pixels"):
        next(figure_frames(clip, side=3))
