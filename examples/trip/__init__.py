"""A saga: reserve credit, a hotel and a flight; undo all of it, last one first, when a step fails."""
