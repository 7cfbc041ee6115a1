"""Fitting a canonical image and a deformation field to real videos."""

from gendef.fitting.fit import fit_scenes, fit_video
from gendef.fitting.options import FitOptions
from gendef.fitting.progress import Progress

__all__ = ["FitOptions", "Progress", "fit_scenes", "fit_video"]
