"""`python -m examples.uploads [--dispatch classic]`: files go to S3 and FTP, and the workers are killed meanwhile."""

from __future__ import annotations

import argparse
import asyncio
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from temporalio import client as temporal
from temporalio.worker import Worker

from examples.command import claim, run_example, until
from examples.database import create_tables
from examples.local import Dispatch, Pool, System, add_dispatch, local_system
from examples.programs import Program
from examples.uploads import tasks
from examples.uploads.stores import BUCKET
from examples.uploads.workflow import Limits, Sweep, UploadFile

SCHEMA = Path(__file__).with_name("schema.sql")
POOL = Pool([tasks], concurrency=8)
STORES = ["s3", "ftp"]


async def main(dispatch: Dispatch) -> None:
    """Upload files, kill the workers in the middle of the largest one, and sweep what others have left."""
    async with local_system(POOL, dispatch=dispatch, intercept=True, start_pools=False) as system:
        await create_tables(SCHEMA)
        s3 = (await start_storage(system)).client
        async with Worker(system.client, task_queue="uploads", workflows=[UploadFile, Sweep]):
            run = uuid.uuid4().hex[:8]
            empty, letter, film = f"empty-{run}", f"Grüße an {run}.txt", f"film-{run}.mp4"
            contents = {empty: b"", letter: b"Hallo", film: os.urandom(32 << 20)}
            uploads = [await start_upload(system, name, content) for name, content in contents.items()]
            await until("the film is on its way", lambda: asyncio.to_thread(has_begun, s3, film))
            await system.pools["default"].kill()
            await system.pools["default"].start()
            print("killed the workers in the middle of the film, and started new ones")
            for upload in uploads:
                print(f"{upload.id}: {await upload.result()}")
            claim(all(holds(system, s3, *file) for file in contents.items()), "both stores hold the bytes of each file")
            again = await start_upload(system, empty, b"no longer empty")
            claim(await again.result() == [f"{empty}~2"] * 2, "another content got another key")
            s3.create_multipart_upload(Bucket=BUCKET, Key="left by somebody")
            await sweep(system.client, f"sweep-{run}")
        claim(has_no_upload(s3), "no upload is open in S3, not even one that somebody else had left")
        left = [*(system.directory / "work").iterdir(), *(system.directory / "ftp").glob("*.part")]
        claim(not left, "no temporary file is left, here or there")


class Storage(NamedTuple):
    """The servers that stand for the outside world."""

    s3: Program
    ftp: Program
    client: Any
    """Of S3."""


async def start_storage(system: System, through: Sequence[str] = ()) -> Storage:
    """Start both servers, and the pool that uses them. `through` is a module that runs the servers' modules."""
    for folder in ("spool", "work", "ftp"):
        (system.directory / folder).mkdir()
    s3 = await system.start("s3", "-m", *through, "moto.server", "-H", "127.0.0.1", "-p", "{port}")
    user = ("--username", "uploads", "--password", "uploads", "--write")
    folder = str(system.directory / "ftp")
    ftp = await system.start("ftp", "-m", *through, "pyftpdlib", "-i", "127.0.0.1", "-p", "{port}", "-d", folder, *user)
    # A dead process keeps its jobs for 15 seconds unless set. Nobody wants to watch that.
    own = {tasks.FOLDER: str(system.directory), tasks.S3_URL: s3.url, tasks.FTP_PORT: str(ftp.port)}
    await system.start_pool(replace(POOL, environment={**own, "DELEGATOR_LEASE": "1s"}))
    client = boto3.client("s3", endpoint_url=s3.url, **tasks.ACCESS)
    client.create_bucket(Bucket=BUCKET)
    return Storage(s3, ftp, client)


async def start_upload(
    system: System,
    name: str,
    content: bytes,
    stores: list[str] = STORES,
    limits: Limits = Limits(),  # noqa: B008
) -> temporal.WorkflowHandle[UploadFile, list[str]]:
    """Put a file into the spool, and start its upload."""
    (system.directory / "spool" / name).write_bytes(content)
    return await system.client.start_workflow(
        UploadFile.run, args=[name, stores, limits], id=f"upload-{name}", task_queue="uploads"
    )


async def sweep(client: temporal.Client, name: str, older_than_seconds: int = 0) -> int:
    """Have a schedule start the sweeper, here at once. Return how much it removed."""
    asked = [STORES, older_than_seconds]
    action = temporal.ScheduleActionStartWorkflow(Sweep.run, args=asked, id=name, task_queue="uploads")
    hourly = temporal.ScheduleSpec(intervals=[temporal.ScheduleIntervalSpec(timedelta(hours=1))])
    schedule = await client.create_schedule(name, temporal.Schedule(action, hourly), trigger_immediately=True)
    try:
        while not (started := (await schedule.describe()).info.recent_actions):  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.05)
        assert isinstance(started[0].action, temporal.ScheduleActionExecutionStartWorkflow)
        return int(await client.get_workflow_handle(started[0].action.workflow_id, result_type=int).result())
    finally:
        await schedule.delete()


def has_no_upload(s3: Any) -> bool:
    """Return whether no upload is under way."""
    return "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)


def has_part(s3: Any) -> bool:
    """Return whether an upload is under way, and S3 has a part of it."""
    uploads = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    with suppress(s3.exceptions.NoSuchUpload):  # it has just ended
        return any("Parts" in s3.list_parts(Bucket=BUCKET, Key=up["Key"], UploadId=up["UploadId"]) for up in uploads)
    return False


def has_begun(s3: Any, key: str) -> bool:
    """Return whether S3 has a part of a file; or all of it, if it was faster than we looked."""
    return has_part(s3) or any(item["Key"] == key for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ()))


def holds(system: System, s3: Any, key: str, content: bytes) -> bool:
    """Return whether both stores hold these bytes."""
    there = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return bool(there == content == (system.directory / "ftp" / key).read_bytes())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.uploads", description=__doc__)
    add_dispatch(parser)
    run_example(main(parser.parse_args().dispatch))
