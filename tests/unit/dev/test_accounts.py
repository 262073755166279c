import os
from pathlib import Path

import pytest

from delegator.dev.accounts import account_for, can_enter, can_run, require_entry
from delegator.dev.processes import Account
from delegator.errors import ConfigurationError

STRANGER = Account("stranger", 54321, 54321)


def test_closed_parent(open_path: Path) -> None:
    """A directory below one that the account can't enter can't be entered either."""
    inner = open_path / "closed" / "inner"
    inner.mkdir(parents=True)
    assert can_enter(inner, STRANGER)
    (open_path / "closed").chmod(0o700)
    assert not can_enter(inner, STRANGER)
    with pytest.raises(ConfigurationError, match=f"stranger can't enter {open_path}/closed: .*chmod o"):
        require_entry(inner, STRANGER)


def test_program_bits(open_path: Path) -> None:
    """An account can run a program only if it may read and execute it."""
    program = open_path / "program"
    program.touch(mode=0o755)
    assert can_run(program, STRANGER)
    program.chmod(0o700)
    assert not can_run(program, STRANGER)


def test_owner_and_group_bits_count(open_path: Path) -> None:
    program = open_path / "program"
    program.touch(mode=0o700)
    status = program.stat()
    assert can_run(program, Account("me", status.st_uid, status.st_gid))
    program.chmod(0o050)
    assert can_run(program, Account("mate", 54321, status.st_gid))


def test_only_root_needs_another_user(open_path: Path) -> None:
    account = account_for(open_path / "new")
    assert (account is None) == (os.geteuid() != 0)
    assert account is None or account.uid != 0
