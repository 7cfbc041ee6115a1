"""The motion of one image for as long as one likes, of which the beginning does not depend on the end."""

from dataclasses import replace

import torch
from torch import Tensor

from gendef.animation.key_fields import KeyFields
from gendef.animation.prior import MotionPrior
from gendef.animation.smooth_fields import node_counts, on_nodes, unfolded
from gendef.geometry import compose, resize_field, warp
from gendef.model.sampling import random_numbers


class LongMotion:
    """Motion of an image at any times from 0 on, window by window.

    The image is the middle of the first window, so that the first frames are bent as little as the last. Each later
    window goes on from the last frame of the one before. A window is interpolated by itself, so that a longer video
    begins with the shorter one.

    Args:
        prior: the motion prior.
        image: (3, H, W) in [-1, 1].
        seed: of the motion.
    """

    def __init__(self, prior: MotionPrior, image: Tensor, seed: int) -> None:
        self.prior, self.image = prior, image
        self._seeds = random_numbers("motion", seed)
        self._windows: list[tuple[KeyFields, Tensor]] = []
        self._before, self._after = -float(prior.key_times[0]), float(prior.key_times[-1])

    def at(self, times: Tensor) -> Tensor:
        """Fields (T, h, w, 2) on the grid of the prior at times (T,) in frames of the prior."""
        from_image = times.double() - self._before
        numbers = torch.ceil((from_image - self._after) / self._after).clamp_min(0).long()
        fields = torch.empty(len(times), *self.prior.grid, 2)
        for number in numbers.unique().tolist():
            chosen = numbers == number
            motion, reference = self._window(number)
            own = motion.at(from_image[chosen] - number * self._after)
            fields[chosen] = compose(own, reference.expand_as(own)) if number else own
        return fields

    def at_pixels(self, times: Tensor) -> Tensor:
        """Fields (T, H, W, 2) for each pixel of the image."""
        size = (self.image.shape[1], self.image.shape[2])
        return on_nodes(self.at(times), size, size)

    def _window(self, number: int) -> tuple[KeyFields, Tensor]:
        """Motion of a window about its own reference frame, and the field (1, h, w, 2) of that frame."""
        size = self.image.shape[1:]
        while len(self._windows) <= number:
            seed = int(torch.randint(2**62, (1,), generator=self._seeds))
            if not self._windows:
                motion, reference = self.prior.sample(self.image, seed), torch.zeros(1, *self.prior.grid, 2)
            else:
                last, before = self._windows[-1]
                reference = compose(last.fields[-1:], before)
                shown = warp(self.image[None], resize_field(reference, size)[None])[0, 0]
                motion = self.prior.sample(shown, seed, after=last)
            everywhere = torch.ones(node_counts(size), dtype=torch.bool)
            self._windows.append((replace(motion, fields=unfolded(motion.fields, everywhere, size)), reference))
        return self._windows[number]
