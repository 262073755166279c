"""The bytes that workflows, enqueuers and workers exchange."""
