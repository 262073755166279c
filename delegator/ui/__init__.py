"""The operator's page, `delegator ui`, and the JSON API beside it.

Both show what `delegator.operating` knows, and change things only through it, as the command line does.
"""
