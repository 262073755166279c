"""Runs another program that ends when its parent ends, as another user if asked.

It is a separate script, run with `python -I -S`. The same work between fork and exec is not safe in a process with
threads, such as those of temporalio's runtime.

Usage: _launcher.py PARENT_PID DEATH_SIGNAL UID GID PROGRAM [ARGUMENT ...]; UID -1 keeps the user.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Replace this process with the program."""
    parent, signal_number, uid, gid = (int(value) for value in arguments[:4])
    program = arguments[4:]
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if libc is not None:
        # After setuid, because setuid clears it. Before the check, so that the end of the parent is not missed.
        libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent process is gone")
    os.umask(0o077)  # here, because uvloop's subprocesses have no such argument
    try:
        os.execv(program[0], program)
    except OSError as error:
        sys.exit(f"can't run {program[0]}: {error.strerror}")


main(sys.argv[1:])
