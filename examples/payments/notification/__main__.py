"""`python -m examples.payments.notification`: run the notification service alone, until Ctrl-C."""

from examples.payments.notification import tasks
from examples.payments.contracts import NOTIFICATION
from examples.payments.service import jobs, run_service

run_service(jobs(NOTIFICATION, tasks))
