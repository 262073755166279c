"""All SQL that runs for jobs. Each table has its modules."""
