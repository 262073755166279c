"""`python -m examples.payments.account`: run the account service alone, until Ctrl-C."""

from pathlib import Path

from examples.attempts import ShownAttempts
from examples.payments.account import tasks
from examples.payments.contracts import ACCOUNT
from examples.pool import run_pool

if __name__ == "__main__":
    run_pool(ACCOUNT, tasks, [ShownAttempts("Payment")], Path(__file__).with_name("schema.sql"))
