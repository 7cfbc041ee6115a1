"""A still image that moves: motion learned from real videos."""
