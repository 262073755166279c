"""`python -m examples.payments.notification`: run the notification service alone, until Ctrl-C."""

from examples import outgoing
from examples.attempts import ShownAttempts
from examples.payments.contracts import NOTIFICATION
from examples.payments.notification import tasks
from examples.pool import run_pool

if __name__ == "__main__":
    run_pool(NOTIFICATION, tasks, [ShownAttempts("Payment")], outgoing.SCHEMA)
