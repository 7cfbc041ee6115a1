"""Perceptual image distance: pixel differences plus differences of frozen network features."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.networks.efficientnet_lite0 import EfficientNetFeatures, load_efficientnet_lite0

FEATURE_MAPS = 3
"""Number of feature maps used, finest first; the fourth is too coarse to localise."""
SEEN_AT = 128
"""Smaller pictures are enlarged to this side for the features, as in training on frozen features."""


class PictureDistance:
    """Mean absolute difference of the pixels plus `weight` times the difference of unit features (EfficientNet-Lite0).

    Raises:
        MissingDependencyError: the package with the features' weights is not installed.
    """

    def __init__(self, device: torch.device, weight: float = 0.3) -> None:
        self.weight = weight
        self._network: EfficientNetFeatures = load_efficientnet_lite0().to(device).requires_grad_(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """(B, 3, R, R) -> feature maps, each of unit length at every position."""
        side = images.shape[-1]
        if side < SEEN_AT:
            images = F.interpolate(images, scale_factor=SEEN_AT / side, mode="bilinear", align_corners=False)
        return [F.normalize(found, dim=1) for found in self._network(images)[:FEATURE_MAPS]]

    def __call__(self, images: Tensor, truth: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """Distances of images (B, 3, R, R) to the truth, (B, 3, R, R) or (1, 3, R, R): (B,).

        Args:
            features: of the truth, if already computed.
        """
        if features is None:
            with torch.no_grad():
                features = self.features(truth)
        return (images - truth).abs().mean(dim=(1, 2, 3)) + self._by_features(images, features)

    def of_batch(self, images: Tensor, truth: Tensor, count: int) -> Tensor:
        """The mean over a batch, a scalar, with features of the first `count` images only, to save time."""
        pixels = (images - truth).abs().mean()
        with torch.no_grad():
            features = self.features(truth[:count])
        return pixels + self._by_features(images[:count], features).mean()

    def _by_features(self, images: Tensor, features: list[Tensor]) -> Tensor:
        gaps = [
            (one - two).square().sum(dim=1).mean(dim=(1, 2))
            for one, two in zip(self.features(images), features, strict=True)
        ]
        return self.weight / FEATURE_MAPS * torch.stack(gaps).sum(dim=0)
