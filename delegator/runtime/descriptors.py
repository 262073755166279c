"""File descriptors: how many this process may open, and a few that are kept for when there are none left."""

from __future__ import annotations

import errno
import os
import resource
from typing import Final

_OURS: Final = 64
"""Descriptors that a process needs besides the connections that it serves: databases, Temporal, logs."""


def raise_descriptor_limit(most: int) -> None:
    """Let this process open as many descriptors as its hard limit allows.

    The soft limit is 1024 almost everywhere, for programs that use select(2). The hard limit is what an administrator
    has set.

    Args:
        most: that many are enough.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(hard, most)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_allowed(wanted: int) -> int:
    """Return how many connections a server may hold, so that descriptors are left for everything else.

    Args:
        wanted: as many, if the limit of descriptors allows it.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - min(_OURS, soft // 2)))


def is_exhaustion(error: OSError) -> bool:
    """Return whether the process or the system has no descriptor or no memory left for one more connection."""
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class KeptDescriptors:
    """Descriptors that are open for nothing. Closing one makes room for a connection."""

    def __init__(self, number: int) -> None:
        """Open them.

        Args:
            number: how many.
        """
        self._number = number
        self._kept: list[int] = []
        self.top_up()

    @property
    def complete(self) -> bool:
        """Whether all of them are open."""
        return len(self._kept) >= self._number

    def top_up(self) -> None:
        """Open those that were given away again, as far as that is possible."""
        while len(self._kept) < self._number:
            try:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                return

    def give_one(self) -> bool:
        """Close one. False: none is left."""
        if not self._kept:
            return False
        os.close(self._kept.pop())
        return True

    def close(self) -> None:
        """Close all of them."""
        while self.give_one():
            pass
