"""`python -m examples.payments.gateway`: run the gateway service alone, until Ctrl-C."""

from examples.attempts import ShownAttempts
from examples.payments.contracts import GATEWAY
from examples.payments.gateway import tasks
from examples.pool import run_pool

if __name__ == "__main__":
    run_pool(GATEWAY, tasks, [ShownAttempts("Payment")])
