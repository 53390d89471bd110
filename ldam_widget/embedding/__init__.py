"""Two-dimensional maps of many points."""
