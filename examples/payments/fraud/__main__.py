"""`python -m examples.payments.fraud`: run the fraud service alone, until Ctrl-C."""

from examples.payments.fraud import tasks
from examples.payments.contracts import FRAUD
from examples.payments.service import jobs, run_service

run_service(jobs(FRAUD, tasks))
