"""The pool of workers that run delegated jobs: pull, claim, run, finish."""
