"""Official checkpoints in and out."""

from gendef.model.official import (
    official_discriminator,
    official_discriminator_state,
    official_generator,
    official_generator_state,
)

__all__ = [
    "official_discriminator",
    "official_discriminator_state",
    "official_generator",
    "official_generator_state",
]
