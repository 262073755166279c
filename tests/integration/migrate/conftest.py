"""The real Atlas CLI, and the PostgreSQL 15 that it works with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.postgres15 import ROOT, Server15, running_postgres15


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
    with running_postgres15() as server:
        yield server
