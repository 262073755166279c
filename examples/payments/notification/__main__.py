"""`python -m examples.payments.notification`: run the notification service alone, until Ctrl-C."""

from pathlib import Path

from examples.payments.contracts import NOTIFICATION
from examples.payments.notification import tasks
from examples.payments.service import jobs, run_service

if __name__ == "__main__":
    run_service(jobs(NOTIFICATION, tasks, Path(__file__).with_name("schema.sql")))
