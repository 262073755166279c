"""The queue by itself, without workflows: what it carries, and how fast it answers."""
