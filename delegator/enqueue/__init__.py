"""The enqueuer: the part of a Temporal worker that enqueues jobs and waits inline for their outcomes."""
