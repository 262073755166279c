"""Run an arm: start its workers, drive the load, check every result."""
