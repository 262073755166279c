"""What travels between workflows, enqueuers and workers, as bytes."""
