"""Two later versions of the workflow, and a demonstration of the change."""
