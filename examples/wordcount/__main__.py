"""`python -m examples.wordcount [DIR]`: the commonest words in the `*.py` files of a directory."""

from __future__ import annotations

import argparse
import os
import sysconfig
import time
import uuid
from pathlib import Path

from temporalio.worker import Worker

from delegator import ConfigurationError
from examples.command import run_example
from examples.local import Pool, local_system
from examples.wordcount import tasks
from examples.wordcount.workflow import WordCount

TOP = 15
# Every result stays in the workflow's history (2.5 KB a file here), and Temporal ends a workflow at 50 MB of it.
# For more, let the job store its counts and return where they are.
MOST_FILES = 10_000


def source_files(directory: Path) -> list[str]:
    """Return the Python files below a directory, installed packages left out.

    Raises:
        ConfigurationError: there are none, or too many for one workflow.
    """
    files = sorted(str(path) for path in directory.rglob("*.py") if "site-packages" not in path.parts)
    if not 0 < len(files) <= MOST_FILES:
        raise ConfigurationError(f"{directory} has {len(files)} *.py files; give a directory with 1 to {MOST_FILES:,}")
    return files


async def count(files: list[str], top: int) -> list[tuple[str, int]]:
    """Count the words of files on the stack that the environment names, else on an embedded one."""
    async with (
        local_system(Pool([tasks], processes=os.cpu_count() or 1)) as system,
        Worker(system.client, task_queue="wordcount", workflows=[WordCount]),
    ):
        begin = time.perf_counter()
        words = await system.client.execute_workflow(
            WordCount.run, args=[files, top], id=f"wordcount-{uuid.uuid4()}", task_queue="wordcount"
        )
        print(f"{len(files):,} files counted in {time.perf_counter() - begin:.2f} s")
    return words


async def main(directory: Path) -> None:
    """Count and print."""
    for word, times in await count(source_files(directory), TOP):
        print(f"{times:>9,}  {word}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.wordcount", description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=Path(sysconfig.get_path("stdlib")))
    run_example(main(parser.parse_args().directory))
