"""Rescue: whatever was lost, is due or timed out is found in the table and brought on its way again."""
