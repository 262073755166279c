"""What a run cost, by component."""
