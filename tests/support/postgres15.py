"""Debian's PostgreSQL 15: the oldest that the engine supports, and the one that the Atlas CLI works with."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Server15:
    """A throw-away PostgreSQL 15."""

    url: str
    """Of its database `postgres`, for a superuser."""
    dev_url: str
    """Of an empty database, in Atlas's form."""
    names: Iterator[int]
    """For the names of databases."""

    def database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"atlas_{next(self.names)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url.replace("/postgres?", f"/{name}?")


@contextmanager
def running_postgres15() -> Iterator[Server15]:
    """Run one. Tests that need it are marked `atlas`: they are skipped where it is not installed."""
    script = 'echo "$POSTGRES15_URL"; echo "$ATLAS_DEV_URL"; read -r _ || true'
    # The server lives until its standard input ends, so it goes with this process whatever happens to it.
    with subprocess.Popen(
        [ROOT / ".ci" / "with-postgres15", "bash", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Server15(process.stdout.readline().strip(), process.stdout.readline().strip(), count(1))
        process.stdin.close()
        process.wait(timeout=60)
