"""A long job that is broken off in the middle, in three ways, and goes on where it was."""
