"""`python -m delegator` is the `delegator` command."""

from delegator.cli.main import main

main()
