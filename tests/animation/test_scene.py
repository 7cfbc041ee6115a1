import numpy as np
import pytest
import torch

from gendef.animation.inpainting import fill
from gendef.animation.scene import Canvas, Moved, build
from gendef.animation.smooth_fields import node_counts
from gendef.errors import InputError
from gendef.geometry import identity_grid
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_video import LayeredVideo

SIZE = (64, 96)
FRAMES = 5


def photo():
    """Smooth colours, so that sampling between pixels can be compared."""
    x, y = identity_grid(*SIZE).unbind(dim=-1)
    return torch.stack((torch.sin(3 * x + y), torch.cos(4 * y - x), x * y))


def shift(pixels, frames=FRAMES):
    """Fields that move everything to the right by so many pixels in the last frame."""
    fields = torch.zeros(frames, 8, 8, 2)
    fields[..., 0] = -torch.linspace(0, 2 * pixels / SIZE[1], frames)[:, None, None]
    return fields


def made(fields, moving=None, *, in_front=False, crop=False, shares=None, inpaint=fill):
    moving = torch.ones(SIZE, dtype=torch.bool) if moving is None else moving
    passes = [Moved(fields, torch.ones(len(fields)))]
    if shares is not None:
        passes = [Moved(fields, 1 - shares), Moved(-fields.flip(0), shares)]
    options = {"fps": 25.0, "info": {}, "report": {}, "inpaint": inpaint}
    return build(photo(), moving, passes, node_counts(SIZE), in_front=in_front, crop=crop, **options)


def sky():
    moving = torch.zeros(SIZE, dtype=torch.bool)
    moving[:32] = True
    return moving


def object_mask():
    moving = torch.zeros(SIZE, dtype=torch.bool)
    moving[20:40, 20:40] = True
    return moving


@pytest.mark.parametrize("in_front", [False, True])
@pytest.mark.parametrize("mask", [None, sky, object_mask])
def test_without_motion_every_frame_is_the_photograph(mask, in_front):
    video = made(torch.zeros(FRAMES, 8, 8, 2), None if mask is None else mask(), in_front=in_front)
    assert torch.equal(video.render(), photo().expand(FRAMES, -1, -1, -1))


def test_a_crop_without_motion_is_the_photograph():
    video = made(torch.zeros(FRAMES, 8, 8, 2), sky(), crop=True)
    assert torch.equal(video.render(), photo().expand(FRAMES, -1, -1, -1))


def test_if_everything_moves_there_are_no_layers():
    assert type(made(shift(7))) is CanonicalVideo
    assert type(made(shift(7), sky())) is LayeredVideo


def test_content_goes_where_the_field_says():
    frames = made(shift(8)).render()
    assert torch.allclose(frames[-1][:, :, 8:], photo()[:, :, :-8], atol=1e-4)
    assert torch.allclose(frames[2][:, :, 4:], photo()[:, :, :-4], atol=1e-4)
    assert torch.allclose(frames[0], photo(), atol=1e-5)


def test_what_comes_in_is_no_streak():
    frames = made(shift(16)).render()
    comes_in = frames[-1][:, :, :12]
    assert (comes_in.diff(dim=2).abs().mean(dim=(0, 1)) > 1e-3).all()


def test_what_stands_still_is_the_same_in_all_frames():
    frames = made(shift(20), sky()).render()
    assert torch.equal(frames[:, :, 32:], photo()[:, 32:].expand(FRAMES, -1, -1, -1))
    assert (frames[-1, :, :28] - photo()[:, :28]).abs().mean() > 0.05


def test_nothing_of_what_stands_still_moves_along():
    fields = shift(0)
    fields[..., 1] = torch.linspace(0, 0.5, FRAMES)[:, None, None]  # what moves comes up from behind the ground
    image = torch.zeros(3, *SIZE)
    image[0, 32:] = 1
    options = {"fps": 25.0, "info": {}, "report": {}, "inpaint": fill, "in_front": False, "crop": False}
    video = build(image, sky(), [Moved(fields, torch.ones(FRAMES))], node_counts(SIZE), **options)
    assert float(video.render()[:, 0, :28].amax()) <= 0.51 / 127.5  # what is filled in has 8 bits


def test_a_thing_before_the_rest_takes_its_outline_along():
    image = torch.full((3, *SIZE), -0.5)
    image[:, 20:40, 20:40] = 0.75
    options = {"fps": 25.0, "info": {}, "report": {}, "inpaint": fill, "in_front": True, "crop": False}
    video = build(image, object_mask(), [Moved(shift(30), torch.ones(FRAMES))], node_counts(SIZE), **options)
    last = video.render()[-1]
    assert torch.allclose(last[:, 22:38, 52:68], torch.tensor(0.75), atol=1e-3)
    assert (last[:, 20:40, 20:44] + 0.5).abs().max() <= 1.01 / 127.5  # filled in, with 8 bits
    assert video.layers[0].name == "still"


def test_a_crop_shows_nothing_from_beyond_the_border():
    def never(picture, unknown):
        raise AssertionError("nothing needs to be filled in")

    video = made(shift(12), crop=True, inpaint=never)
    assert isinstance(video, CanonicalVideo)
    assert tuple(video.canonical.shape[1:]) == SIZE
    places = identity_grid(*SIZE) + video.deformation
    assert float(places.abs().max()) <= 1
    # The picture is no smaller than it must be: it reaches a border.
    assert float(places.abs().max()) > 0.97


def test_a_crop_zooms_what_stands_still_too():
    video = made(shift(12), sky(), crop=True)
    frames = video.render()
    assert torch.equal(frames[0, :, 40:], frames[-1, :, 40:])
    still = video.layers[-1].video
    assert 0.5 < float(still.deformation[0, 0, 1, 0] - still.deformation[0, 0, 0, 0]) * SIZE[1] / 2 + 1 < 1


@pytest.mark.parametrize("mask", [None, sky, object_mask])
def test_two_passes_fade_into_each_other(mask):
    shares = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    in_front = mask is object_mask
    moving = None if mask is None else mask()
    frames = made(shift(10), moving, shares=shares, in_front=in_front).render()
    first, second = (made(fields, moving, in_front=in_front).render() for fields in (shift(10), -shift(10).flip(0)))
    expected = torch.lerp(first, second, shares[:, None, None, None])
    # Fills at different margins differ; the middle of the picture is the same.
    inner = (slice(None), slice(None), slice(24, 36), slice(24, 36))
    assert torch.allclose(frames[inner], expected[inner], atol=0.01)
    assert torch.allclose(frames[0], photo(), atol=1e-4)
    assert torch.allclose(frames[-1], photo(), atol=1e-4)


def test_an_inpainting_function_of_the_users_own():
    def black(picture, unknown):
        assert picture.dtype == np.uint8
        assert unknown.dtype == bool
        return np.where(unknown[..., None], np.uint8(0), picture)

    frames = made(shift(16), inpaint=black).render()
    assert (frames[-1, :, :, :12] == -1).all()


def test_inpainting_functions_must_keep_the_size():
    with pytest.raises(InputError):
        made(shift(16), inpaint=lambda picture, unknown: picture[1:])


def test_a_canvas_knows_where_the_picture_is():
    canvas = Canvas((10, 20), left=3, top=2, right=5, bottom=0)
    assert canvas.full_size == (12, 28)
    corner = canvas.places(identity_grid(10, 20)[0, 0])
    assert torch.allclose(corner, identity_grid(12, 28)[2, 3])
    assert torch.equal(canvas.around(photo()[:, :10, :20])[:, 2:, 3:23], photo()[:, :10, :20])
