"""Migrations run while the processes of the previous release work: nothing in them may block these, or break them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from delegator.migrate.directory import migrations_directory, read_migrations
from tests.integration.upgrades.support import PREVIOUS, ROOT

# What it says of lock_timeout and statement_timeout is done by `delegator migrate`; the others are matters of taste.
_NOT_HERE = (
    "require-lock-timeout",
    "require-statement-timeout",
    "require-timeout-settings",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",
    "prefer-text-field",
    "prefer-timestamptz",
)


def squawk(path: Path, *, transactional: bool) -> str:
    """Return what squawk finds in a migration; empty: nothing."""
    program = Path(sys.executable).with_name("squawk")
    command = [program, "--pg-version", "15.0", *(f"--exclude={rule}" for rule in _NOT_HERE)]
    if transactional:
        command.append("--assume-in-transaction")
    done = subprocess.run([*command, path], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def released() -> frozenset[str]:
    """Return the migrations of the previous release. Those are in use and never change."""
    done = subprocess.run(
        ["git", "ls-tree", "--name-only", PREVIOUS, "atlas/migrations/"], cwd=ROOT, capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this clone lacks {PREVIOUS}, the previous release")
    return frozenset(Path(line).name for line in done.stdout.decode().splitlines())


def test_new_migrations():
    """None of them builds an index while writers wait, rewrites a table, or takes away what older processes use."""
    directory, known = migrations_directory(), released()
    new = [file for file in read_migrations(directory) if file.name not in known]
    found = [squawk(directory / file.name, transactional=file.transactional) for file in new]
    assert [text for text in found if text] == []


_BAD = {
    "index": "CREATE INDEX slow ON custom_task_queue (job_type);",
    "check": "ALTER TABLE custom_task_queue ADD CONSTRAINT checked CHECK (attempt >= 0);",
    "rewrite": "ALTER TABLE custom_task_queue ADD COLUMN made_at timestamptz NOT NULL DEFAULT clock_timestamp();",
    "type": "ALTER TABLE custom_task_queue ALTER COLUMN attempt TYPE bigint;",
    "drop": "ALTER TABLE custom_task_queue DROP COLUMN waiter_id;",
    "rename": "ALTER TABLE custom_task_queue RENAME COLUMN waiter_id TO who;",
}


@pytest.mark.parametrize("statement", _BAD.values(), ids=_BAD)
def test_refused(tmp_path: Path, statement: str):
    path = tmp_path / "20990101000000_bad.sql"
    path.write_text(f"{statement}\n")
    assert path.name in squawk(path, transactional=True)


def test_concurrent_index(tmp_path: Path):
    path = tmp_path / "20990101000000_good.sql"
    path.write_text("CREATE INDEX CONCURRENTLY good ON custom_task_queue (job_type);\n")
    assert squawk(path, transactional=False) == ""


def test_previous_release():
    """Once there are releases, the rehearsal starts from the newest one that this commit comes after."""
    tags = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tags.returncode:
        pytest.skip("nothing has been released")
    assert tags.stdout.strip() == PREVIOUS, "write the tag into tests/integration/upgrades/previous.toml"
