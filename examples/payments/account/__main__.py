"""`python -m examples.payments.account`: run the account service alone, until Ctrl-C."""

from examples.payments.account import tasks
from examples.payments.contracts import ACCOUNT
from examples.payments.service import jobs, run_service

run_service(jobs(ACCOUNT, tasks))
