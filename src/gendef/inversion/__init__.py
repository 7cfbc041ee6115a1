"""Real clips inside a generator: latents for a clip of its domain, and the generator tuned to it."""

from gendef.inversion.invert import Inversion, Options, invert

__all__ = ["Inversion", "Options", "invert"]
