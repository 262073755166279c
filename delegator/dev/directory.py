"""The directory of a stack."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from pathlib import Path

from delegator.dev.accounts import (
    TEMPORARY_PREFIX,
    account_for,
    new_temporary_directory,
    require_entry,
    temporary_bases,
)
from delegator.errors import ConfigurationError

# A new directory is not locked yet for a short time.
_YOUNG_SECONDS = 60.0
_REMOVALS = 30
_REMOVAL_PAUSE_SECONDS = 0.1


class StackDirectory:
    """A stack's data and logs. One stack at a time holds the directory."""

    def __init__(self, path: Path, *, keep: bool) -> None:
        """Lock `path`, which must exist.

        Raises:
            ConfigurationError: another stack runs there.
        """
        self.path = path
        self._keep = keep
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigurationError(
                f"another stack is running in {path}: stop it, or choose another --data-dir"
            ) from None
        # The data and the logs are the user's own. PostgreSQL's unprivileged user must be able to enter.
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        (path / "logs").mkdir(exist_ok=True)
        (path / "logs").chmod(0o700)

    @classmethod
    def open(cls, path: Path | None, *, keep: bool) -> StackDirectory:
        """Lock a directory, and make it if necessary.

        Args:
            path: the directory; None: a new temporary one.
            keep: keep it when the stack ends. A directory that had other files before is never removed.

        Raises:
            ConfigurationError: it can't be used for a stack. The message says why.
        """
        if path is None:
            remove_abandoned()
            return cls(new_temporary_directory(account_for(Path("/nonexistent"))), keep=keep)
        path = path.expanduser().absolute()
        missing = [place for place in (path, *path.parents) if not place.exists()]
        if (account := account_for(path / "postgres" / "data")) is not None:
            # Checked before anything is made, so that a refusal leaves nothing behind.
            require_entry(missing[-1].parent if missing else path.parent, account)
        try:
            path.mkdir(parents=True, exist_ok=True)
            for place in missing:
                if account is not None:
                    place.chmod(place.stat().st_mode | 0o011)
            foreign = any(path.iterdir()) and not (path / "lock").exists()
        except OSError as error:
            raise ConfigurationError(f"--data-dir {path}: {error.strerror}") from None
        if foreign:
            raise ConfigurationError(f"--data-dir {path} holds other files: choose an empty or a new directory")
        return cls(path, keep=keep)

    def log(self, name: str) -> Path:
        """Return the log file of a component."""
        return self.path / "logs" / f"{name}.log"

    def token(self) -> str:
        """Return the stream's token. It does not change while the directory is kept."""
        file = self.path / "token"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(24))
        return file.read_text().strip()

    def encryption_keys(self) -> Path:
        """Return the file of encryption keys. It is made once, and does not change while the directory is kept.

        Raises:
            ConfigurationError: the package for encryption is not installed.
        """
        from delegator.encryption import EncryptionKey

        file = self.path / "encryption-keys"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(f"{EncryptionKey.new('dev').written}\n")
        return file

    def close(self) -> None:
        """Unlock it, and remove it unless it is kept."""
        if not self._keep:
            for _ in range(_REMOVALS):
                shutil.rmtree(self.path, ignore_errors=True)
                if not self.path.exists():
                    break
                # The last backends of a killed PostgreSQL may still write.
                time.sleep(_REMOVAL_PAUSE_SECONDS)
        os.close(self._lock)


def remove_abandoned() -> None:
    """Remove temporary directories of stacks whose process was killed."""
    for base in temporary_bases():
        for path in base.glob(f"{TEMPORARY_PREFIX}*"):
            with contextlib.suppress(OSError):
                if path.stat().st_uid != os.geteuid() or time.time() - path.stat().st_mtime < _YOUNG_SECONDS:
                    continue
                with (path / "lock").open("r+") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
