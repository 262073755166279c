"""Frames, histories and rows of every format version, as files, and the tests that read them."""
