"""`python -m examples.payments.account`: run the account service alone, until Ctrl-C."""

from pathlib import Path

from examples.payments.account import tasks
from examples.payments.contracts import ACCOUNT
from examples.payments.service import run_jobs

if __name__ == "__main__":
    run_jobs(ACCOUNT, tasks, Path(__file__).with_name("schema.sql"))
