"""The numbers of runs, as the JSON files hold them."""
