"""The sub-commands: one module each, with a function `register(app)`."""
