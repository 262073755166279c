"""`python -m examples.uploads [--dispatch classic]`: files go to S3 and FTP, and the workers are killed meanwhile."""

from __future__ import annotations

import argparse
import asyncio
import os
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio import client as temporal

from examples.command import claim, run_example, until
from examples.local import SHORT_LEASE, Dispatch, Pool, System, add_dispatch, local_system
from examples.recurring import start_schedule
from examples.stores import BUCKET
from examples.uploads import tasks
from examples.uploads.workflow import Limits, Sweep, UploadFile

POOL = Pool([tasks], concurrency=8)
STORES = ["s3", "ftp"]


async def main(dispatch: Dispatch) -> None:
    """Upload files, kill the workers in the middle of the largest one, and sweep what others have left."""
    workflows = {"uploads": [UploadFile, Sweep]}
    async with local_system(POOL, dispatch=dispatch, intercept=True, workflows=workflows, start_pools=False) as system:
        s3 = await start_storage(system)
        run = uuid.uuid4().hex[:8]
        empty, letter, film = f"empty-{run}", f"Grüße an {run}.txt", f"film-{run}.mp4"
        contents = {empty: b"", letter: b"Hallo", film: os.urandom(32 << 20)}
        uploads = [await start_upload(system, name, content) for name, content in contents.items()]
        await until("the film is on its way", lambda: asyncio.to_thread(has_begun, s3, film))
        await system.pools["default"].restart()
        print("killed the workers in the middle of the film, and started new ones")
        for upload in uploads:
            print(f"{upload.id}: {await upload.result()}")
        claim(all(holds(system, s3, *file) for file in contents.items()), "both stores hold the bytes of each file")
        again = await (await start_upload(system, empty, b"no longer empty")).result()
        claim(again[0].startswith(f"{empty}~"), "another content got another key")
        s3.create_multipart_upload(Bucket=BUCKET, Key="left by somebody")
        print(f"the sweeper removed {await sweep(system.client, f'sweep-{run}')} upload that somebody had left")
        left = [*(system.directory / "work").iterdir(), *(system.directory / "ftp").glob("*.part")]
        claim(not left and is_clean(s3), "no temporary file and no open upload is left, here or there")


async def start_storage(system: System, through: tuple[str, ...] = ()) -> Any:
    """Start both servers, by a module that runs them, and the pool. Return a client of S3."""
    for folder in ("spool", "work", "ftp"):
        (system.directory / folder).mkdir()
    s3 = system.services["s3"] = await system.start("s3", "-m", *through, "moto.server", "-p", "{port}")
    options = ("-i", "127.0.0.1", "-d", str(system.directory / "ftp"), "-w", "-u", "uploads", "-P", "uploads")
    ftp = await system.start("ftp", "-m", *through, "pyftpdlib", "-p", "{port}", *options)
    system.services["ftp"] = ftp
    environment = {tasks.FOLDER: str(system.directory), tasks.S3_PORT: str(s3.port), tasks.FTP_PORT: str(ftp.port)}
    await system.start_pool(replace(POOL, environment={**environment, **SHORT_LEASE}))
    client = tasks.s3_client(s3.port)
    client.create_bucket(Bucket=BUCKET)
    return client


async def start_upload(
    system: System, name: str, content: bytes, stores: list[str] = STORES
) -> temporal.WorkflowHandle[UploadFile, list[str]]:
    """Put a file into the spool, and start its upload."""
    (system.directory / "spool" / name).write_bytes(content)
    arguments = [name, stores, Limits(heartbeat_seconds=20)]  # so long a killed worker of Temporal holds a job
    return await system.client.start_workflow(UploadFile.run, args=arguments, id=f"upload-{name}", task_queue="uploads")


async def sweep(client: temporal.Client, name: str, older_than_seconds: int = 0) -> int:
    """Have a schedule start the sweeper, here at once. Return how much it removed."""
    hourly = temporal.ScheduleSpec(intervals=[temporal.ScheduleIntervalSpec(timedelta(hours=1))])
    asked = (STORES, older_than_seconds)
    schedule = await start_schedule(
        client, name, hourly, Sweep.run, *asked, task_queue="uploads", trigger_immediately=True
    )
    while not (started := (await schedule.describe()).info.recent_actions):  # noqa: ASYNC110  # nothing tells
        await asyncio.sleep(0.05)
    await schedule.delete()
    assert isinstance(started[0].action, temporal.ScheduleActionExecutionStartWorkflow)
    return int(await client.get_workflow_handle(started[0].action.workflow_id, result_type=int).result())


def is_clean(s3: Any) -> bool:
    """Return whether no upload is under way."""
    return "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)


def has_begun(s3: Any, key: str) -> bool:
    """Return whether an upload is under way; or has ended, if it was faster than we looked."""
    return not is_clean(s3) or any(it["Key"] == key for it in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ()))


def holds(system: System, s3: Any, key: str, content: bytes) -> bool:
    """Return whether both stores hold these bytes."""
    there = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return bool(there == content == (system.directory / "ftp" / key).read_bytes())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.uploads", description=__doc__)
    add_dispatch(parser)
    run_example(main(parser.parse_args().dispatch))
