"""`python -m examples.payments.reporting`: the pages that people look at, until Ctrl-C."""

from examples.payments.reporting.pages import reporting
from examples.service import run_service

if __name__ == "__main__":
    run_service(reporting)
