"""The figures that this project promises, and the experiments that measure them: `make bench`."""
