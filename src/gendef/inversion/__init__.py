"""Real clips inside a generator: latents for a clip of its domain, and the generator tuned to it."""

from gendef.inversion.invert import Inversion, InversionOptions, invert

__all__ = ["Inversion", "InversionOptions", "invert"]
