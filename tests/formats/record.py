"""Record the stored files of the current format versions: `python -m tests.formats.record`.

What a released version wrote can't be recorded again by a later one. So only the current versions' files are written,
and the folders of other versions stay as they are.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from delegator.dev.directory import StackDirectory
from delegator.dev.postgres import Postgres
from delegator.dev.temporal import TemporalServer
from delegator.runtime.temporal_client import load_data_converter
from tests.formats.folders import CURRENT_FRAMES, CURRENT_ROWS, folder
from tests.formats.frames import FRAMES
from tests.formats.histories import CONVERTERS, HISTORIES, JOBS, record
from tests.formats.rows import RowWriter
from tests.integration.delegator.environment import environment
from tests.support import Databases


def refusal(arguments: list[str]) -> str | None:
    """Say why these arguments record nothing; None: they may. The only argument is a version, such as `v1`."""
    current = {f"v{CURRENT_FRAMES}", f"v{CURRENT_ROWS}"}
    others = [argument for argument in arguments if argument not in current]
    if not others:
        return None
    return f"{' '.join(others)}: only the current version ({', '.join(sorted(current))}) can be recorded"


def record_frames(target: Path) -> None:
    """Write a frame of every kind."""
    target.mkdir(parents=True, exist_ok=True)
    for name, frame in FRAMES.items():
        (target / f"{name}.bin").write_bytes(frame.pack(frame.value))


async def record_histories(databases: Databases, temporal: TemporalServer, target: Path) -> None:
    """Run the workflows and write their histories."""
    target.mkdir(parents=True, exist_ok=True)
    for converter, path in CONVERTERS.items():
        async with (
            environment(databases, temporal, data_converter=path, http_worker=False) as engine,
            engine.http_worker(modules=[JOBS]),
        ):
            for name in [name for name, recorded in HISTORIES.items() if recorded.converter == converter]:
                history = json.loads((await record(engine, name)).to_json())
                (target / f"{name}.json").write_text(json.dumps(history, indent=1) + "\n")


async def record_rows(databases: Databases, target: Path) -> None:
    """Write the rows."""
    target.mkdir(parents=True, exist_ok=True)
    for name, path in CONVERTERS.items():
        async with databases.fresh() as database:
            (target / f"{name}.sql").write_text(await RowWriter(database.url, load_data_converter(path)).write())


async def main() -> None:
    """Record everything."""
    record_frames(folder(CURRENT_FRAMES, "frames"))
    async with AsyncExitStack() as stack:
        directory = StackDirectory.open(None, keep=False)
        stack.callback(directory.close)
        postgres = Postgres(directory.path / "postgres", directory.log("postgres"), durable=False, preferred_port=None)
        temporal = TemporalServer(directory.log("temporal"), headless=True, preferred_port=None, preferred_ui_port=None)
        for server in (postgres, temporal):
            await server.start()
            stack.callback(server.release)
            stack.push_async_callback(server.stop)
        databases = Databases(postgres)
        await record_rows(databases, folder(CURRENT_ROWS, "rows"))
        await record_histories(databases, temporal, folder(CURRENT_FRAMES, "histories"))


if __name__ == "__main__":
    problem = refusal(sys.argv[1:])
    if problem is not None:
        sys.exit(f"record: {problem}")
    asyncio.run(main())
