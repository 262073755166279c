"""`python -m http_workers` is the `http-worker` command."""

from http_workers.cli import main

main()
