"""`python -m examples.payments.fraud`: run the fraud service alone, until Ctrl-C."""

from pathlib import Path

from examples.payments.contracts import FRAUD
from examples.payments.fraud import tasks
from examples.payments.service import jobs, run_service

if __name__ == "__main__":
    run_service(jobs(FRAUD, tasks, Path(__file__).with_name("schema.sql")))
