from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import Replayer, Worker

from delegator import DelegatorPlugin, PluginOptions
from delegator.dev import RunningStack
from delegator.testing import JobEnvironment
from examples.command import until
from examples.database import fetch_value
from examples.local import Dispatch, System, local_system
from examples.stores import BUCKET, PART_BYTES, S3, File
from examples.uploads import tasks
from examples.uploads.__main__ import (
    POOL,
    STORES,
    holds,
    is_clean,
    start_storage,
    start_upload,
    sweep,
)
from examples.uploads.workflow import Limits, Sweep, UploadFile
from tests.integration.examples import slow_storage

LARGE = os.urandom(1 << 20) * 100


class Uploads:
    """The example's system, and what the other side says."""

    def __init__(self, system: System, s3: Any) -> None:
        self.system = system
        self.s3 = s3
        self.start = partial(start_upload, system)
        self.work = system.directory / "work"

    async def failure(self, handle: Any) -> BaseException:
        """Return why an upload failed. Its history replays."""
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        # With the options of `local_system`.
        options = PluginOptions(intercept=True, patch=False, task_queues={"default": "default"})
        plugin = DelegatorPlugin([tasks], options=options)
        await Replayer(workflows=[UploadFile], plugins=[plugin]).replay_workflow(await handle.fetch_history())
        return failed.value.cause.__cause__ or failed.value.cause

    def has(self, name: str, content: bytes) -> bool:
        return holds(self.system, self.s3, name, content)

    def is_clean(self, work: list[str] | None = None) -> bool:
        """Return whether nothing is unfinished, and the temporary folders hold these files."""
        folders = [self.system.directory / folder for folder in ("spool", "work")]
        left = sorted(path.name for folder in folders for path in folder.iterdir())
        return is_clean(self.s3) and not self.parts() and left == sorted(work or [])

    def parts(self) -> list[Path]:
        return list((self.system.directory / "ftp").glob("*.part"))

    def are_on_their_way(self) -> bool:
        """Return whether S3 has a part of a file, and FTP a part of one."""
        uploads = self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        parts = [self.s3.list_parts(Bucket=BUCKET, Key=up["Key"], UploadId=up["UploadId"]) for up in uploads]
        return any("Parts" in listed for listed in parts) and any(part.stat().st_size for part in self.parts())

    def keys(self, name: str) -> tuple[list[str], list[str]]:
        """Return what the stores have of a name."""
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=name).get("Contents", [])
        found = (self.system.directory / "ftp").glob(f"{name}*")
        return sorted(item["Key"] for item in listed), sorted(path.name for path in found)


@pytest.fixture(scope="module")
async def uploads(servers: RunningStack) -> AsyncIterator[Uploads]:
    async with local_system(POOL, intercept=True, start_pools=False) as system:
        s3 = await start_storage(system, through=(slow_storage.__name__,))
        async with Worker(system.client, task_queue="uploads", workflows=[UploadFile, Sweep]):
            yield Uploads(system, s3)


@pytest.fixture
def name() -> str:
    return f"{uuid.uuid4().hex}.bin"


def version(name: str, content: bytes) -> str:
    """Return the second key of a file."""
    return name.replace(".bin", f"~{hashlib.sha256(content).hexdigest()[:12]}.bin")


async def test_command(run_command, servers: RunningStack) -> None:
    """The command uploads files, while its workers are killed."""
    ended = await run_command("uploads")
    assert (ended.code, ended.errors) == (0, "")
    assert sum(line.startswith("proven: ") for line in ended.output.splitlines()) == 3


async def test_interrupted(uploads: Uploads, name: str) -> None:
    """The workers and the FTP server are killed in the middle of 100 MB. All bytes arrive, and nothing is left."""
    handle = await uploads.start(name, LARGE)

    await until("both uploads are on their way", partial(asyncio.to_thread, uploads.are_on_their_way))
    await asyncio.gather(uploads.system.pools["default"].kill(), uploads.system.services["ftp"].kill())
    assert not is_clean(uploads.s3) and uploads.parts()
    await asyncio.gather(uploads.system.pools["default"].start(), uploads.system.services["ftp"].start())
    assert await handle.result() == [name, name]
    assert uploads.has(name, LARGE)
    assert uploads.is_clean()


async def test_resumed(uploads: Uploads, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 has the first part with other bytes: they stay, so the part is not sent twice."""
    content = os.urandom(PART_BYTES + 9)
    monkeypatch.setenv(tasks.FOLDER, str(tmp_path))
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / name).write_bytes(content)
    file = File(name, hashlib.sha256(content).hexdigest(), len(content), 0)
    upload = uploads.s3.create_multipart_upload(Bucket=BUCKET, Key=name, Metadata={"sha256": file.sha256})["UploadId"]
    first = uploads.s3.upload_part(Bucket=BUCKET, Key=name, UploadId=upload, PartNumber=1, Body=bytes(PART_BYTES))
    details = [name, file.sha256, upload, [first["ETag"]]]
    environment = JobEnvironment(attempt=2, heartbeat_details=details, provide={tasks.stores: {"s3": S3(uploads.s3)}})
    assert await environment.run(tasks.upload, "s3", file) == name
    assert uploads.s3.get_object(Bucket=BUCKET, Key=name)["Body"].read() == bytes(PART_BYTES) + content[PART_BYTES:]
    uploads.s3.delete_object(Bucket=BUCKET, Key=name)


async def test_wrong_bytes(uploads: Uploads, name: str) -> None:
    """What a store has of the file is not what the file has: reading back shows it, and it is uploaded again."""
    content = os.urandom(10_000)
    part = f"{version(name, content)}.part"
    (uploads.system.directory / "ftp" / part).write_bytes(bytes(5_000))
    handle = await uploads.start(name, content)
    assert await handle.result() == [name, name]
    assert uploads.has(name, content)
    assert uploads.is_clean()


async def test_storage_away(uploads: Uploads, name: str) -> None:
    """Both stores are away. Meanwhile one file waits, one is changed and one vanishes."""
    await asyncio.gather(uploads.system.services["s3"].kill(), uploads.system.services["ftp"].kill())
    names = [f"{way}-{name}" for way in ("waits", "changes", "vanishes")]
    waits, changes, vanishes = [await uploads.start(each, b"before") for each in names]
    for each in names:
        await until("each upload has failed", partial(has_failed, f"upload-{each}"))
    (uploads.work / names[1]).write_bytes(b"after this")
    (uploads.work / names[2]).unlink()
    await asyncio.gather(uploads.system.services["s3"].start(), uploads.system.services["ftp"].start())
    uploads.s3.create_bucket(Bucket=BUCKET)
    error = await uploads.failure(vanishes)
    assert isinstance(error, ApplicationError) and error.type == "Vanished"
    assert await waits.result() == [names[0]] * 2
    assert await changes.result() == [names[1]] * 2
    assert uploads.has(names[0], b"before") and uploads.has(names[1], b"after this")
    assert uploads.keys(names[2]) == ([], [])
    assert uploads.is_clean()


async def has_failed(workflow_id: str) -> bool:
    """Return whether an attempt at each store has failed."""
    failed = "SELECT count(*) >= 2 FROM custom_task_queue WHERE workflow_id = %s AND attempt > 1"
    return bool(await fetch_value(failed, workflow_id))


async def test_cancelled(uploads: Uploads, name: str) -> None:
    """An upload is cancelled in its middle: the stores have nothing of it, and the file is kept for the next time."""
    handle = await uploads.start(name, LARGE)

    await until("both uploads are on their way", partial(asyncio.to_thread, uploads.are_on_their_way))
    await handle.cancel()
    assert isinstance(await uploads.failure(handle), CancelledError)
    assert uploads.keys(name) == ([], [])
    assert uploads.is_clean([name])
    (uploads.work / name).write_bytes(b"short")
    again = await uploads.start(name, b"a later one waits")
    assert await again.result() == [name, name]
    assert uploads.has(name, b"short")
    (uploads.system.directory / "spool" / name).unlink()
    assert uploads.is_clean()


async def test_refused(uploads: Uploads, name: str) -> None:
    """S3 answers 403: the upload fails at once, and FTP has the file all the same."""
    await let_in(uploads, actions=0)
    try:
        error = await uploads.failure(await uploads.start(name, b"content"))
    finally:
        await let_in(uploads, actions=1_000_000)
    assert isinstance(error, ApplicationError) and error.type == "Refused"
    assert uploads.keys(name) == ([], [name])
    assert uploads.is_clean([name])
    (uploads.work / name).unlink()


async def let_in(uploads: Uploads, actions: int) -> None:
    """Let S3 take so many actions before it looks at who asks."""
    async with (
        aiohttp.ClientSession(uploads.system.services["s3"].url) as session,
        session.post("/moto-api/reset-auth", data=str(actions).encode()) as answer,
    ):
        answer.raise_for_status()


async def test_disk_full(uploads: Uploads, name: str) -> None:
    """The FTP server can't write on: the upload waits until there is room, and goes on."""
    pid = uploads.system.services["ftp"].pid
    assert pid is not None
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, most))
    content = os.urandom(3 << 20)
    handle = await uploads.start(name, content)

    async def has_failed() -> bool:
        failed = "SELECT max(attempt) > 1 FROM custom_task_queue WHERE workflow_id = %s"
        return bool(await fetch_value(failed, handle.id))

    await until("an attempt has failed", has_failed)
    assert [part.stat().st_size for part in uploads.parts()] == [1 << 20]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
    assert await handle.result() == [name, name]
    assert uploads.has(name, content)
    assert uploads.is_clean()


@pytest.mark.parametrize(
    "bad", ["../outside", ".hidden", "two\nlines", "x" * 121, "a.part", "a~0123456789ab.txt", "", "link"]
)
async def test_bad_name(uploads: Uploads, bad: str) -> None:
    """A name that leads out of the folder, or is no file's, is refused before anything is touched."""
    outside = uploads.system.directory / "outside"
    outside.write_bytes(b"private")
    if bad == "link":
        (uploads.system.directory / "spool" / bad).symlink_to(outside)
    handle = await uploads.system.client.start_workflow(
        UploadFile.run, args=[bad, STORES, Limits()], id=f"upload-{uuid.uuid4()}", task_queue="uploads"
    )
    error = await uploads.failure(handle)
    assert isinstance(error, ApplicationError) and error.type == "BadName"
    assert outside.read_bytes() == b"private"
    (uploads.work / "link").unlink(missing_ok=True)
    assert uploads.is_clean()


async def test_same_name(uploads: Uploads, name: str) -> None:
    """No content takes another one's key, be it recorded or not; the same content shares one. It may be empty."""
    uploads.s3.put_object(Bucket=BUCKET, Key=name, Body=b"not ours")
    (uploads.system.directory / "ftp" / name).write_bytes(b"not ours")
    for content in (b"", b"more", b""):
        key = version(name, content)
        assert await (await uploads.start(name, content)).result() == [key, key]
        assert uploads.has(key, content)
    assert uploads.has(name, b"not ours")
    assert uploads.is_clean()


async def test_swept(uploads: Uploads, name: str) -> None:
    """The sweeper removes what has no record and is old enough, and nothing else."""
    await (await uploads.start(name, b"kept")).result()
    await sweep(uploads.system.client, f"before-{name}")
    uploads.s3.put_object(Bucket=BUCKET, Key=f"{name}-orphan", Body=b"orphan")
    for orphan in (f"{name}-orphan", "left.part"):
        (uploads.system.directory / "ftp" / orphan).write_bytes(b"orphan")
    assert await sweep(uploads.system.client, f"young-{name}", older_than_seconds=3600) == 0
    # Moto says of each upload that it began in 2010.
    uploads.s3.create_multipart_upload(Bucket=BUCKET, Key="left")
    assert await sweep(uploads.system.client, f"old-{name}", older_than_seconds=-1) == 4
    assert uploads.keys(name) == ([name], [name])
    assert uploads.has(name, b"kept")
    assert uploads.is_clean()


async def test_classic(uploads: Uploads, name: str) -> None:
    """With classic dispatch the same workflow does the same."""
    pool = replace(POOL, environment=uploads.system.pools["default"].variables)
    (uploads.system.directory / "spool" / name).write_bytes(b"content")
    async with (
        local_system(pool, dispatch=Dispatch.CLASSIC, intercept=True) as system,
        Worker(system.client, task_queue=name, workflows=[UploadFile]),
    ):
        arguments = [name, STORES, Limits()]
        keys = await system.client.execute_workflow(UploadFile.run, args=arguments, id=name, task_queue=name)
    assert keys == [name, name]
    assert uploads.has(name, b"content")
    assert uploads.is_clean()
