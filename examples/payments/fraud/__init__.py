"""The fraud check's score and the reviews."""
