"""The workflows of the arms, a module each: the sandbox runs a workflow's module anew for every run of it."""
