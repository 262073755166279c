"""The workflows of the arms.

Each has a module of its own, because the sandbox executes a workflow's whole module again for every run.
"""
