"""`python -m examples.payments.notification`: run the notification service alone, until Ctrl-C."""

from examples import outgoing
from examples.payments.contracts import NOTIFICATION
from examples.payments.notification import tasks
from examples.payments.service import run_jobs

if __name__ == "__main__":
    run_jobs(NOTIFICATION, tasks, outgoing.SCHEMA)
