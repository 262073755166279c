"""What travels between workflow, delegator and workers, as bytes."""
