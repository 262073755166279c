"""The servers and worker processes of a run."""
