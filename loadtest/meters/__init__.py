"""Measure what a window of time cost, by component."""
