"""Load scenarios, and the checks that no money is lost."""
