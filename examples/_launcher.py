"""Runs a program that ends when its parent ends: an example that is killed leaves nothing running.

It is a script of its own, because the same work between fork and exec is not safe in a process with threads.

Usage: _launcher.py PARENT_PID PROGRAM [ARGUMENT ...]
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: str, *program: str) -> None:
    """Replace this process with the program."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent process is gone")
    os.execv(program[0], program)


main(*sys.argv[1:])
