"""The jobs, all of them plain functions in threads. Each may run any number of times."""

from __future__ import annotations

import ftplib
import os
import re
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import boto3
import psycopg
from botocore.config import Config
from botocore.exceptions import ClientError
from temporalio.exceptions import ApplicationError

from delegator import delegated, resource
from examples.database import database_url
from examples.stores import S3, File, Ftp, digest

FOLDER: Final = "UPLOADS_FOLDER"
"""The variable that names a folder with `spool`, where files come in, and `work`. Both are on one file system."""
S3_PORT: Final = "UPLOADS_S3_PORT"
FTP_PORT: Final = "UPLOADS_FTP_PORT"
_BAD_NAME: Final = re.compile(r"\..*|.*/.*|.*\.part|.*~[0-9a-f]{12}(\.[^.]*)?|.{121,}|", re.DOTALL)
_REFUSALS: Final = (400, 401, 403)
_RECORD = "INSERT INTO uploads.files (store, key, sha256) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
_RECORDED = "SELECT key FROM uploads.files WHERE store = %s AND key = ANY (%s)"


def s3_client(port: int) -> Any:
    """Return a client of the server that stands for S3. A real secret would come from the environment."""
    # The queue repeats, so the library doesn't.
    once = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1})
    access = {"aws_access_key_id": "uploads", "aws_secret_access_key": "uploads", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", config=once, **access)


@resource
async def stores() -> AsyncIterator[dict[str, S3 | Ftp]]:
    """Open the stores of a worker process. Boto's clients are slow to make, and threads may share them."""
    yield {"s3": S3(s3_client(int(os.environ[S3_PORT]))), "ftp": Ftp(int(os.environ[FTP_PORT]))}


@delegated
def stage(name: str) -> File:
    """Take a file out of the spool and hash it. What an earlier attempt or an earlier upload took is there already."""
    if _BAD_NAME.fullmatch(name) or not name.isprintable():  # a line break would begin another FTP command
        raise _final("BadName", f"{name!r} can't be the name of an object")
    path = _work(name)
    with _errors():
        if not path.exists():
            # From here on no other program looks for it. One that still has it open is found out by the hash.
            (Path(os.environ[FOLDER]) / "spool" / name).rename(path)
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode):
            raise _final("BadName", f"{name!r} is not a plain file")
        return File(name, digest(_blocks(path)), about.st_size, about.st_mtime_ns)


@delegated
def upload(store: str, file: File) -> str:
    """Upload a file under a key that no other content has, from where an earlier attempt has got to. Return the key."""
    there = stores.get()[store]
    with _errors():
        for key in file.keys:
            if (found := there.hash_of(key)) is None:
                there.put(key, file, _work(file.name))
            if found in (None, file.sha256):
                return key
        raise FileExistsError(f"{store} has other contents under {file.keys}")


@delegated
def confirm(store: str, file: File, key: str) -> None:
    """Read the object back, and record it: neither 200 nor the store's own checksum says that these are our bytes."""
    with _errors():
        if digest(stores.get()[store].read(key)) != file.sha256:
            raise _final("Mismatch", f"{store} holds other bytes than {file.name!r} had")
    with psycopg.connect(database_url()) as connection:
        connection.execute(_RECORD, (store, key, file.sha256))


@delegated
def clean(store: str, keys: list[str] | None, older_than_seconds: int) -> int:
    """Remove what is unfinished or has no record, under these keys or all. Return how much it was."""
    there, before = stores.get()[store], datetime.now(UTC) - timedelta(seconds=older_than_seconds)
    with _errors(), psycopg.connect(database_url()) as connection:
        found = there.names(keys, before)
        orphans = found - {key for (key,) in connection.execute(_RECORDED, (store, list(found)))}
        there.delete(orphans)
        return there.abort(keys, before) + len(orphans)


@delegated
def remove(file: File) -> None:
    """Delete the file here. It comes last, after every store has been read."""
    path = _work(file.name)
    if path.exists():
        if (path.stat().st_size, path.stat().st_mtime_ns) != (file.size, file.changed_ns):
            raise _final("Mismatch", f"{file.name!r} has changed while it was uploaded")
        path.unlink()


def _work(name: str) -> Path:
    return Path(os.environ[FOLDER]) / "work" / name


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as data:
        yield from iter(lambda: data.read(1 << 20), b"")


@contextmanager
def _errors() -> Iterator[None]:
    """Tell what a repetition can't mend. All else (no connection, 5xx, a full disk over there) is tried again."""
    try:
        yield
    except FileNotFoundError as error:
        raise _final("Vanished", f"{error.filename} is gone") from error
    except (ClientError, ftplib.error_perm) as error:
        if isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] not in _REFUSALS:
            raise
        raise _final("Refused", str(error)) from error


def _final(kind: str, message: str) -> ApplicationError:
    return ApplicationError(message, type=kind, non_retryable=True)
