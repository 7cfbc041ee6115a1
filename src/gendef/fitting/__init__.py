"""Fitting a canonical image and a deformation field to real videos."""

from gendef.fitting.fit import fit_scenes, fit_video
from gendef.fitting.segments import fit_long

__all__ = ["fit_long", "fit_scenes", "fit_video"]
