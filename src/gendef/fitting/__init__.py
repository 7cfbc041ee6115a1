"""Fitting a canonical image and a deformation field to real videos."""

from gendef.fitting.fit import fit_scenes, fit_video

__all__ = ["fit_scenes", "fit_video"]
