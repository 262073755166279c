"""Which migrations wait, and which histories are refused."""

from __future__ import annotations

import pytest

from delegator.errors import SchemaError
from delegator.migrate.apply import pending
from delegator.migrate.directory import MigrationFile
from delegator.migrate.revisions import Revision

FILES = tuple(MigrationFile(f"{number}_step.sql", "SELECT 1;", f"hash{number}") for number in (1, 2, 3))


def revision(number: int, *, kind: int = 2, applied: int = 1, total: int = 1, hash: str | None = None) -> Revision:
    return Revision(str(number), kind, applied, total, f"hash{number}" if hash is None else hash)


def test_fresh_database() -> None:
    """Every file is pending on a fresh database."""
    assert pending(FILES, []) == FILES


def test_after_the_last_applied() -> None:
    """The files after the last applied one are pending."""
    assert pending(FILES, [revision(1), revision(2)]) == FILES[2:]


def test_nothing_waits() -> None:
    assert pending(FILES, [revision(1), revision(2), revision(3)]) == ()


def test_baseline() -> None:
    """A baseline counts for every file before it."""
    assert pending(FILES, [revision(2, kind=1, applied=0, total=0, hash="")]) == FILES[2:]


@pytest.mark.parametrize(
    ("revisions", "message"),
    [
        ([revision(1), revision(2, applied=2, total=5)], r"applied in part \(2 of 5 statements\)"),
        ([revision(1), revision(2, hash="other")], "checksum mismatch: 2_step.sql was applied with other content"),
        ([revision(1), revision(3)], "migration 2_step.sql was never applied, but later ones were"),
        ([revision(1), revision(2), revision(3), revision(4)], "has migration 4, newer than this installation knows"),
    ],
)
def test_histories_that_do_not_fit(revisions: list[Revision], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        pending(FILES, revisions)
