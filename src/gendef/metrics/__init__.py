"""Measures of videos: distances of distributions, motion, reconstruction, tracking, segmentation; docs/metrics.md."""
