"""Show progress and results in a terminal."""
