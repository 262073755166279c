"""What operators see and do: the state of jobs, queues and workers, and the steps that change them.

The command line, the page, the JSON API and the metrics take a job's state from here, so that they agree.
"""
