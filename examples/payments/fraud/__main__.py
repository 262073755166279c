"""`python -m examples.payments.fraud`: run the fraud service alone, until Ctrl-C."""

from pathlib import Path

from examples.attempts import ShownAttempts
from examples.payments.contracts import FRAUD
from examples.payments.fraud import tasks
from examples.pool import run_pool

if __name__ == "__main__":
    run_pool(FRAUD, tasks, [ShownAttempts("Payment")], Path(__file__).with_name("schema.sql"))
