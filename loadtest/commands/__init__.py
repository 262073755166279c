"""The sub-commands. Each module has a function `register(app)`."""
