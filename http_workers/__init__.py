"""The pool of workers that run delegated jobs: pull, claim, run, finish."""

from http_workers.options import ClaimMode
from http_workers.worker import HttpWorker

__all__ = ["ClaimMode", "HttpWorker"]

for _export in (ClaimMode, HttpWorker):
    _export.__module__ = __name__
del _export
