"""Chooses the user that PostgreSQL runs as, and checks what that user can reach.

PostgreSQL refuses to run as root. So root, in a container or on a CI machine, runs it as an existing unprivileged user.
initdb needs a user that the user database knows.
"""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from pathlib import Path

from delegator.dev.processes import Account
from delegator.errors import ConfigurationError, DependencyError

TEMPORARY_PREFIX = "delegator-stack-"
_CANDIDATES = ("nobody", "daemon", "postgres")


def account_for(data: Path) -> Account | None:
    """Return the user to run PostgreSQL as; None: the current user, which is not root.

    Args:
        data: its data directory. If it exists, its owner is taken.

    Raises:
        DependencyError: this machine has no unprivileged user.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat().st_uid) != 0:
        try:
            entry = pwd.getpwuid(owner)
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
        except KeyError:
            pass
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise DependencyError(
        f"PostgreSQL does not run as root and there is no user {' or '.join(_CANDIDATES)} to run it as: "
        "start the stack as a normal user"
    )


def can_enter(directory: Path, account: Account) -> bool:
    """Say whether `account` can enter `directory`, and all above it."""
    return all(_mode(path, account) & 1 for path in (directory, *directory.parents))


def can_run(program: Path, account: Account) -> bool:
    """Say whether `account` can read and run `program`."""
    return can_enter(program.parent, account) and _mode(program, account) & 5 == 5


def require_entry(directory: Path, account: Account) -> None:
    """Check that `account` can enter `directory`.

    Raises:
        ConfigurationError: it can't. The message names the first directory that it can't enter.
    """
    for path in reversed((directory, *directory.parents)):
        if not _mode(path, account) & 1:
            raise ConfigurationError(
                f"PostgreSQL runs as {account.name} because you are root, and {account.name} can't enter {path}: "
                f"choose another --data-dir, or chmod o+x {path}"
            )


def temporary_bases() -> tuple[Path, ...]:
    """Return the directories for temporary directories of stacks, the best one first."""
    bases = (Path(base).resolve() for base in (tempfile.gettempdir(), "/tmp", "/var/tmp"))
    return tuple(dict.fromkeys(base for base in bases if base.is_dir()))


def new_temporary_directory(account: Account | None) -> Path:
    """Make a directory for one stack in a directory that `account` can enter.

    Raises:
        DependencyError: there is no such directory.
    """
    for where in temporary_bases():
        if account is None or can_enter(where, account):
            return Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=where))
    assert account is not None
    raise DependencyError(f"no temporary directory that {account.name} can enter: set TMPDIR to one")


def _mode(path: Path, account: Account) -> int:
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == account.uid:
        return mode >> 6 & 7
    if status.st_gid == account.gid:
        return mode >> 3 & 7
    return mode & 7
