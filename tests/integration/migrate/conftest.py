"""The real Atlas CLI, and the PostgreSQL 15 that it works with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

ROOT = Path(__file__).parents[3]


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


def _lacking(reason: str) -> NoReturn:
    if os.environ.get("DELEGATOR_TEST_REQUIRE_ATLAS"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def atlas() -> Path:
    binary = ROOT / ".tools" / "bin" / "atlas"
    if not binary.exists():
        _lacking(f"no Atlas CLI at {binary}: run `make atlas` (needs Go)")
    return binary


@pytest.fixture(scope="session")
def server15(atlas: Path) -> Iterator[Server15]:
    programs = Path(os.environ.get("POSTGRES15_BIN", "/usr/lib/postgresql/15/bin"))
    if not (programs / "initdb").exists():
        _lacking(f"no PostgreSQL 15 at {programs}: install it (Debian: postgresql), or set POSTGRES15_BIN")
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
