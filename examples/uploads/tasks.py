"""The jobs, all of them plain functions in threads. Each may run any number of times."""

from __future__ import annotations

import ftplib
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import boto3
import psycopg
from botocore.config import Config
from botocore.exceptions import ClientError
from temporalio.exceptions import ApplicationError

from delegator import delegated, resource
from examples.database import database_url
from examples.uploads.stores import S3, Ftp, Staged, Take, digest

FOLDER: Final = "UPLOADS_FOLDER"
"""The variable that names a folder with `spool`, where files come in, and `work`. Both are on one file system."""
S3_URL: Final = "UPLOADS_S3_URL"
FTP_PORT: Final = "UPLOADS_FTP_PORT"
ACCESS: Final = {"aws_access_key_id": "uploads", "aws_secret_access_key": "uploads", "region_name": "us-east-1"}
"""To the servers that stand for the outside world. A real secret would come from the environment."""
_REFUSED: Final = (400, 401, 403, 405)
_RECORD = "INSERT INTO uploads.files (store, key, sha256, size) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
_RECORDED = "SELECT key FROM uploads.files WHERE store = %s AND key = ANY (%s)"


@dataclass(frozen=True)
class Delivery:
    """A file on its way to one store."""

    file: Staged
    store: str
    key: str = ""
    """What the store calls it; empty: it is not there yet."""


@resource
async def stores() -> AsyncIterator[dict[str, S3 | Ftp]]:
    """Open the stores of a worker process. Boto's clients are slow to make, and threads may share them."""
    # The queue repeats, so the library doesn't.
    once = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1})
    client = boto3.client("s3", endpoint_url=os.environ[S3_URL], config=once, **ACCESS)
    yield {"s3": S3(client), "ftp": Ftp("127.0.0.1", int(os.environ[FTP_PORT]))}


@delegated
def stage(name: str) -> Staged:
    """Take a file out of the spool and hash it. What an earlier attempt or an earlier upload took is there already."""
    is_plain = Path(name).name == name and name.isprintable()  # a line break would begin another FTP command
    if not is_plain or name.startswith(".") or name.endswith(".part") or len(name.encode()) > 200:
        raise _final("BadName", f"{name!r} can't be the name of an object")
    path = _work(name)
    with _errors():
        if not path.exists():
            # From here on no other program looks for it. One that still has it open is found out by the hash.
            (Path(os.environ[FOLDER]) / "spool" / name).rename(path)
        before = path.lstat()
        if not stat.S_ISREG(before.st_mode):
            raise _final("BadName", f"{name!r} is not a plain file")
        return Staged(name, digest(lambda take: _read(path, take)), before.st_size, before.st_mtime_ns)


@delegated
def upload(delivery: Delivery) -> str:
    """Upload a file, from where an earlier attempt has got to. Return its key."""
    with _errors():
        return stores.get()[delivery.store].put(delivery.file, _work(delivery.file.name))


@delegated
def confirm(delivery: Delivery) -> None:
    """Read the object back, and record it: neither 200 nor the store's own checksum says that these are our bytes."""
    file, store = delivery.file, delivery.store
    with _errors():
        if digest(lambda take: stores.get()[store].read(delivery.key, take)) != file.sha256:
            raise _final("Mismatch", f"{store} holds other bytes than {file.name!r} had")
    with psycopg.connect(database_url()) as connection:
        connection.execute(_RECORD, (store, delivery.key, file.sha256, file.size))


@delegated
def clean(store: str, name: str | None, older_than_seconds: int) -> int:
    """Remove what is unfinished or has no record: of one name, or all that is older. Return how much it was."""

    def recorded(keys: set[str]) -> set[str]:
        with psycopg.connect(database_url()) as connection:
            return {key for (key,) in connection.execute(_RECORDED, (store, list(keys)))}

    with _errors():
        return stores.get()[store].clean(name, datetime.now(UTC) - timedelta(seconds=older_than_seconds), recorded)


@delegated
def remove(file: Staged) -> None:
    """Delete the file here. It comes last, after every store has been read."""
    path = _work(file.name)
    if path.exists():
        if (path.stat().st_size, path.stat().st_mtime_ns) != (file.size, file.changed_ns):
            raise _final("Mismatch", f"{file.name!r} has changed while it was uploaded")
        path.unlink()


def _work(name: str) -> Path:
    return Path(os.environ[FOLDER]) / "work" / name


def _read(path: Path, take: Take) -> None:
    with path.open("rb") as data:
        while block := data.read(1024 * 1024):
            take(block)


@contextmanager
def _errors() -> Iterator[None]:
    """Tell what a repetition can't mend. All else (no connection, 5xx, a full disk over there) is tried again."""
    try:
        yield
    except FileNotFoundError as error:
        raise _final("Vanished", f"{error.filename} is gone") from error
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in _REFUSED:
            raise _final("Refused", str(error)) from error
        raise
    except ftplib.error_perm as error:
        raise _final("Refused", str(error)) from error


def _final(kind: str, message: str) -> ApplicationError:
    return ApplicationError(message, type=kind, non_retryable=True)
