"""The two kinds of storage, with plain blocking libraries. An interrupted upload goes on where it was."""

from __future__ import annotations

import ftplib
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path, PurePath
from typing import Any, Final

from botocore.exceptions import ClientError

from delegator import current_job, heartbeat

BUCKET: Final = "uploads"
PART_BYTES: Final = 8 * 1024 * 1024
"""From this size on a file travels in parts. S3 wants at least 5 MiB for each part but the last."""
Take = Callable[[bytes], object]
Recorded = Callable[[set[str]], set[str]]
"""Returns those of the keys that have a record."""


@dataclass(frozen=True)
class Staged:
    """A file that is about to be uploaded, as it was when it was hashed."""

    name: str
    sha256: str
    size: int
    changed_ns: int
    """Its time of modification."""


def keys_of(name: str) -> Iterator[str]:
    """Return the keys that a file may get, best first: `a.txt`, `a~2.txt`, ... No content takes another one's key."""
    yield name
    for version in count(2):
        yield f"{PurePath(name).stem}~{version}{PurePath(name).suffix}"


def is_of(name: str | None, key: str) -> bool:
    """Return whether a file of this name may have got the key. `None` stands for all names."""
    stem, suffix = (re.escape(part) for part in (PurePath(name or "").stem, PurePath(name or "").suffix))
    return name in (None, key) or re.fullmatch(rf"{stem}~\d+{suffix}", key) is not None


def digest(read: Callable[[Take], object]) -> str:
    """Return the SHA-256 of what is read, and say with each block that the job is alive."""
    hashed = hashlib.sha256()
    # Without details a heartbeat would forget those of an earlier attempt, so it repeats them.
    details = current_job().heartbeat_details

    def take(block: bytes) -> None:
        hashed.update(block)
        heartbeat(*details)

    read(take)
    return hashed.hexdigest()


class S3:
    """A bucket. `If-None-Match` keeps two writers from one key; the hash stands in the object's metadata."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def put(self, file: Staged, path: Path) -> str:
        """Upload a file under a key that no other content has. Return the key."""
        for key in keys_of(file.name):
            # An earlier attempt may have ended just after it wrote the object.
            if self._hash_of(key) is None:
                self._write({"Bucket": BUCKET, "Key": key}, file, path)
            if self._hash_of(key) == file.sha256:
                break
        return key

    def read(self, key: str, take: Take) -> None:
        """Read an object in blocks."""
        for block in self._client.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(1024 * 1024):
            take(block)

    def clean(self, name: str | None, before: datetime, recorded: Recorded) -> int:
        """End uploads that were begun before then, and delete older objects without a record. Return how many."""
        uploads = self._list("list_multipart_uploads", "Uploads", "Initiated", name, before)
        for upload in uploads:
            self._client.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
        keys = {item["Key"] for item in self._list("list_objects_v2", "Contents", "LastModified", name, before)}
        orphans = keys - recorded(keys)
        for key in orphans:
            self._client.delete_object(Bucket=BUCKET, Key=key)
        return len(uploads) + len(orphans)

    def _hash_of(self, key: str) -> str | None:
        try:
            return str(self._client.head_object(Bucket=BUCKET, Key=key)["Metadata"].get("sha256"))
        except ClientError as error:
            if error.response["Error"]["Code"] == "404":
                return None
            raise

    def _write(self, target: dict[str, str], file: Staged, path: Path) -> None:
        about = {**target, "Metadata": {"sha256": file.sha256}}
        try:
            if file.size < PART_BYTES:
                self._client.put_object(**about, Body=path.read_bytes(), IfNoneMatch="*")
            else:
                self._write_parts(target, about, file, path)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchUpload":
                heartbeat()  # forget the parts: the next attempt begins again
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise

    def _write_parts(self, target: dict[str, str], about: dict[str, Any], file: Staged, path: Path) -> None:
        identity = [target["Key"], file.sha256]
        known = list(current_job().heartbeat_details)
        if known[:2] == identity:
            upload, tags = {**target, "UploadId": known[2]}, list(known[3])
        else:
            # An attempt that died before its first heartbeat was stored has left its upload.
            self.clean(file.name, datetime.now(UTC), recorded=lambda keys: keys)
            upload, tags = {**target, "UploadId": self._client.create_multipart_upload(**about)["UploadId"]}, []
        with path.open("rb") as data:
            data.seek(len(tags) * PART_BYTES)
            while part := data.read(PART_BYTES):
                tags.append(self._client.upload_part(**upload, PartNumber=len(tags) + 1, Body=part)["ETag"])
                heartbeat(*identity, upload["UploadId"], tags)
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")

    def _list(self, call: str, field: str, time: str, name: str | None, before: datetime) -> list[dict[str, Any]]:
        pages = self._client.get_paginator(call).paginate(Bucket=BUCKET, Prefix=PurePath(name or "").stem)
        found = (item for page in pages for item in page.get(field, ()))
        return [item for item in found if item[time] <= before and is_of(name, item["Key"])]


class Ftp:
    """A folder. A file grows as `NAME.HASH.part`, and gets its name when all of it is there."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port

    def put(self, file: Staged, path: Path) -> str:
        """Upload a file. FTP can't refuse to overwrite, but no two of our uploads have the same name."""
        part = f"{file.name}.{file.sha256[:16]}.part"
        for key in keys_of(file.name):
            size = self._size(key)
            if size is None:
                with self._connect() as ftp, path.open("rb") as data:
                    begin = data.seek(self._size(part) or 0)
                    ftp.storbinary(f"STOR {part}", data, callback=lambda _: heartbeat(), rest=begin or None)
                    ftp.rename(part, key)
                break
            # An earlier attempt ended just after it wrote the file, or the same file came twice.
            if size == file.size and self._hash_of(key) == file.sha256:
                break
        return key

    def read(self, key: str, take: Take) -> None:
        """Read a file in blocks."""
        with self._connect() as ftp:
            ftp.retrbinary(f"RETR {key}", take, 64 * 1024)

    def clean(self, name: str | None, before: datetime, recorded: Recorded) -> int:
        """Delete partial files, and whole ones without a record, that were last written before then."""
        with self._connect() as ftp:
            limit = f"{before:%Y%m%d%H%M%S}"
            found = [found for found, facts in ftp.mlsd(facts=["type", "modify"]) if facts.get("modify", "~") <= limit]
            parts = {part[0]: part[1] for part in map(re.compile(r"(.*)\.[0-9a-f]{16}\.part").fullmatch, found) if part}
            keys = {key for key in found if not key.endswith(".part") and is_of(name, key)}
            orphans = [part for part, of in parts.items() if name in (None, of)] + list(keys - recorded(keys))
            for orphan in orphans:
                ftp.delete(orphan)
            return len(orphans)

    def _connect(self) -> ftplib.FTP:
        ftp = ftplib.FTP(timeout=30, encoding="utf-8")
        ftp.connect(*self._address)
        ftp.login("uploads", "uploads")
        ftp.voidcmd("TYPE I")  # SIZE counts bytes
        return ftp

    def _size(self, name: str) -> int | None:
        with self._connect() as ftp:
            try:
                return ftp.size(name)
            except ftplib.error_perm:  # 550: no such file
                return None

    def _hash_of(self, key: str) -> str:
        return digest(lambda take: self.read(key, take))
