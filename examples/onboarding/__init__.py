"""Users are imported from a file, and wait until a second person has approved them."""
