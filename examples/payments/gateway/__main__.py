"""`python -m examples.payments.gateway`: run the gateway service alone, until Ctrl-C."""

from examples.payments.contracts import GATEWAY
from examples.payments.gateway import tasks
from examples.payments.service import run_jobs

if __name__ == "__main__":
    run_jobs(GATEWAY, tasks)
