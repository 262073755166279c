"""The workflows, and the API that starts and changes them."""
