"""`python -m examples.payments.fraud`: run the fraud service alone, until Ctrl-C."""

from pathlib import Path

from examples.payments.contracts import FRAUD
from examples.payments.fraud import tasks
from examples.payments.service import run_jobs

if __name__ == "__main__":
    run_jobs(FRAUD, tasks, Path(__file__).with_name("schema.sql"))
