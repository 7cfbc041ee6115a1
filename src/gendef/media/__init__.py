"""Video and image files, and drawings."""
