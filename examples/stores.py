"""Two kinds of storage, for handlers in threads: an upload that was broken off goes on where it was."""

from __future__ import annotations

import ftplib
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, Final

from botocore.exceptions import ClientError

from delegator import current_job, heartbeat

BUCKET: Final = "uploads"
PART_BYTES: Final = 8 * 1024 * 1024
"""From this size on a file travels in parts. S3 wants at least 5 MiB for each part but the last."""


@dataclass(frozen=True)
class File:
    """A file as it was when it was hashed."""

    name: str
    sha256: str
    size: int
    changed_ns: int

    @property
    def keys(self) -> list[str]:
        """Return the keys that it may get. The second one is for when another content has the first."""
        path = PurePath(self.name)
        return [self.name, f"{path.stem}~{self.sha256[:12]}{path.suffix}"]


def digest(blocks: Iterable[bytes]) -> str:
    """Return the SHA-256 of all blocks, and say with each one that the job is alive."""
    hashed, details = hashlib.sha256(), current_job().heartbeat_details
    for block in blocks:
        hashed.update(block)
        heartbeat(*details)  # without details it would forget those of an earlier attempt
    return hashed.hexdigest()


class S3:
    """A bucket. `If-None-Match` keeps two writers from one key; the hash stands in the object's metadata."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def hash_of(self, key: str) -> str | None:
        """Return the hash that an object was uploaded with; None: there is no object."""
        try:
            return str(self._client.head_object(Bucket=BUCKET, Key=key)["Metadata"].get("sha256"))
        except ClientError as error:
            if error.response["Error"]["Code"] == "404":
                return None
            raise

    def put(self, key: str, file: File, path: Path) -> None:
        """Upload a file. If another program was faster, that is an error: the next attempt sees what it wrote."""
        about = {"Bucket": BUCKET, "Key": key, "Metadata": {"sha256": file.sha256}}
        if file.size < PART_BYTES:
            self._client.put_object(**about, Body=path.read_bytes(), IfNoneMatch="*")
            return
        details, now = list(current_job().heartbeat_details), datetime.now(UTC)
        uploads = self._list("list_multipart_uploads", "Uploads", "Initiated", [key], now)
        if details[:2] == [key, file.sha256] and details[2] in [upload["UploadId"] for upload in uploads]:
            upload_id, tags = details[2:]
        else:
            self.abort([key], now)  # what died before a heartbeat was stored
            upload_id, tags = self._client.create_multipart_upload(**about)["UploadId"], []
        upload = {"Bucket": BUCKET, "Key": key, "UploadId": upload_id}
        with path.open("rb") as data:
            data.seek(len(tags) * PART_BYTES)
            while part := data.read(PART_BYTES):
                tags.append(self._client.upload_part(**upload, PartNumber=len(tags) + 1, Body=part)["ETag"])
                heartbeat(key, file.sha256, upload_id, tags)
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")

    def read(self, key: str) -> Iterable[bytes]:
        """Read an object in blocks."""
        blocks: Iterable[bytes] = self._client.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(1 << 20)
        return blocks

    def abort(self, keys: list[str] | None, before: datetime) -> int:
        """End unfinished uploads that are older. Return how many."""
        uploads = self._list("list_multipart_uploads", "Uploads", "Initiated", keys, before)
        for upload in uploads:
            self._client.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
        return len(uploads)

    def names(self, keys: list[str] | None, before: datetime) -> set[str]:
        """Return the keys of objects that are older."""
        return {item["Key"] for item in self._list("list_objects_v2", "Contents", "LastModified", keys, before)}

    def delete(self, names: set[str]) -> None:
        """Delete objects."""
        for name in names:
            self._client.delete_object(Bucket=BUCKET, Key=name)

    def _list(self, call: str, field: str, time: str, keys: list[str] | None, before: datetime) -> list[dict[str, Any]]:
        pages = self._client.get_paginator(call).paginate(Bucket=BUCKET, Prefix=PurePath(keys[0]).stem if keys else "")
        found = (item for page in pages for item in page.get(field, ()))
        return [item for item in found if item[time] <= before and (keys is None or item["Key"] in keys)]


class Ftp:
    """A folder. A file grows as `KEY.part`, and gets its name when all of it is there."""

    def __init__(self, port: int) -> None:
        self._port = port

    def hash_of(self, key: str) -> str | None:
        """Return the hash of a file's bytes; None: there is no file."""
        with self._connect() as ftp:
            if _size(ftp, key) is None:
                return None
        return digest(self.read(key))

    def put(self, key: str, file: File, path: Path) -> None:
        """Upload a file. FTP can't refuse to overwrite, but no two of our uploads have the same name."""
        part = f"{file.keys[1]}.part"  # this key has the content's hash
        with self._connect() as ftp, path.open("rb") as data:
            begin = data.seek(_size(ftp, part) or 0)
            ftp.storbinary(f"STOR {part}", data, callback=lambda _: heartbeat(), rest=begin or None)
            ftp.rename(part, key)

    def read(self, key: str) -> Iterator[bytes]:
        """Read a file in blocks."""
        with self._connect() as ftp, ftp.transfercmd(f"RETR {key}") as data:
            while block := data.recv(1 << 16):
                yield block

    def abort(self, keys: list[str] | None, before: datetime) -> int:
        """End nothing: an unfinished upload is a file, too."""
        return 0

    def names(self, keys: list[str] | None, before: datetime) -> set[str]:
        """Return the files, whole and partial, that are older."""
        limit = f"{before:%Y%m%d%H%M%S}"
        with self._connect() as ftp:
            found = {found for found, facts in ftp.mlsd(facts=["type", "modify"]) if facts.get("modify", "~") <= limit}
        return {name for name in found if keys is None or name.removesuffix(".part") in keys}

    def delete(self, names: set[str]) -> None:
        """Delete files."""
        with self._connect() as ftp:
            for name in names:
                ftp.delete(name)

    def _connect(self) -> ftplib.FTP:
        ftp = ftplib.FTP(timeout=30, encoding="utf-8")
        ftp.connect("127.0.0.1", self._port)
        ftp.login("uploads", "uploads")
        ftp.voidcmd("TYPE I")  # SIZE counts bytes
        return ftp


def _size(ftp: ftplib.FTP, name: str) -> int | None:
    try:
        return ftp.size(name)
    except ftplib.error_perm:  # 550: no such file
        return None
