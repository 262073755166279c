"""The figures that this project promises, measured and judged: `make bench`."""
