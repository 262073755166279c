"""Count the words of some thousand files: one workflow, one delegated job per file."""
