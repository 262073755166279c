"""What a run does: scenarios, jobs, handlers, and the record of what ran."""
