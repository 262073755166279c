"""`python -m tests.conformance`: run the SDK's tests delegated, and print what passes."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from .results import DIED, Seen, Way, read_report
from .sdk import ROOT, Sdk, prepare, temporal_program
from .servers import servers

_FILE_LIMIT_SECONDS = 3600.0
_COMPLETE = (0, 1, 5)
"""Exit statuses of pytest: all passed, some failed, none were there."""


async def run_tests(sdk: Sdk, way: Way, files: Sequence[str], arguments: Sequence[str], folder: Path, limit: int) -> list[Seen]:
    """Run test files in one way, each in a process of its own, and return what the tests did."""
    found: list[Seen] = []
    async with servers() as (environment, logs):
        variables = {**environment, "CONFORMANCE_LOGS": str(folder)}
        for file in files:
            done: list[Seen] = []
            while True:
                report = folder / f"{way}.part.jsonl"
                report.unlink(missing_ok=True)
                rest = [part for one in done for part in ("--deselect", one.test)]
                started = time.monotonic()
                status = await _pytest(sdk, way, [file, *rest, *arguments], variables, report, limit)
                ended = read_report(report)
                done += ended
                counts = Counter(one.outcome for one in ended)
                print(f"{way}: {file}: {dict(counts)} in {time.monotonic() - started:.0f} s", flush=True)
                with (folder / f"{way}.jsonl").open("a") as whole:
                    whole.writelines(one.as_line() + "\n" for one in ended)
                # A process ends with a test that times out. The file's other tests run in a new one.
                if (status in _COMPLETE and not any(one.error == DIED for one in ended)) or not ended:
                    break
            found += done
    return found


async def _pytest(
    sdk: Sdk, way: Way, arguments: Sequence[str], environment: Mapping[str, str], report: Path, limit: int
) -> int:
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("TEMPORAL_", "DELEGATOR_", "CONFORMANCE_"))}
    variables |= environment
    variables |= {
        "CONFORMANCE_WAY": way,
        "CONFORMANCE_REPORT": str(report),
        "CONFORMANCE_LIMIT": str(limit),
        "CONFORMANCE_TEMPORAL": str(temporal_program()),
        "PYTHONPATH": str(ROOT / "tests"),
        "TEMPORAL_CONFIG_FILE": os.devnull,
    }
    command = [str(sdk.python), "-m", "pytest", "-p", "conformance.pytest_plugin", "-p", "no:cacheprovider", "-o", "log_level=INFO", "--tb=native", "-s", *arguments]
    with (report.parent / f"{way}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=sdk.source, env=variables, stdout=log, stderr=log, start_new_session=True
        )
        status = -1
        try:
            async with asyncio.timeout(_FILE_LIMIT_SECONDS):
                status = await process.wait()
        except TimeoutError:
            pass
        finally:
            # Also what the tests started and left.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    return status


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--way", choices=[*Way], action="append", help="how to delegate; by default both ways")
    parser.add_argument("--sdk", help="version of temporalio; `lowest`: the lowest permitted; default: the installed")
    parser.add_argument("--sdk-repository", help="where the SDK's tests are; a URL or a folder")
    parser.add_argument("--timeout", type=int, default=60, help="seconds that a test may take (60)")
    parser.add_argument("--report", type=Path, help="folder of the reports")
    parser.add_argument("-k", help="pytest's -k")
    parser.add_argument("files", nargs="*", help="test files of the SDK; by default all that use activities")
    options = parser.parse_args()
    sdk = prepare(options.sdk, options.sdk_repository)
    files = options.files or sdk.test_files()
    arguments = [f"--timeout={options.timeout}", *(["-k", options.k] if options.k else [])]
    folder = (options.report or Path(tempfile.mkdtemp(prefix="conformance-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"temporalio {sdk.version}, its tests of {sdk.tests_version}; reports in {folder}")
    for name in options.way or [Way.INTERCEPTOR, Way.ACTIVITY_WORKER]:
        way = Way(name)
        seen = asyncio.run(run_tests(sdk, way, files, arguments, folder, options.timeout))
        for one in seen:
            print(f"{one.outcome:8} {one.jobs:4} {one.test} {one.error[:200]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
