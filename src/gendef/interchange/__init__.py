"""Clips for compositing and editing programs: STMaps, tracks, mattes, scripts; and maps from such programs."""
