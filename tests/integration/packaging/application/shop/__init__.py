"""A small application, with packages whose names other distributions and our own checkout have too."""
