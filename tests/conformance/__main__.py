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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from delegator.errors import DelegatorError

from .results import DIED, Judged, Seen, Verdict, Way, judge, read_differences, read_report
from .sdk import REPOSITORY, ROOT, Sdk, prepare, temporal_program
from .selection import files_with_activities
from .servers import servers

DIFFERENCES: Final = Path(__file__).with_name("known_differences.toml")
_WAYS: Final = (Way.INTERCEPTOR, Way.ACTIVITY_WORKER)
_NO_TESTS: Final = 5
_COMPLETE: Final = (0, 1, _NO_TESTS)
"""Exit statuses of pytest: all passed, some failed, none were there."""
# No assertion rewriting of tracebacks: it reads the sources again, which a timeout within it breaks. Output that is
# captured would be lost with a process that ends by itself.
_OPTIONS: Final = ("-p", "no:cacheprovider", "-o", "log_level=INFO", "--tb=native", "-s", "--durations=5")


@dataclass(frozen=True, slots=True)
class Run:
    """How the tests run."""

    sdk: Sdk
    """The SDK and its tests."""
    folder: Path
    """Gets the logs."""
    limit: int
    """Seconds that a test may take."""
    quick: bool
    """Whether workflows share the modules of the tests."""
    arguments: Sequence[str]
    """More arguments of pytest."""

    async def judged(self, way: Way, files: Sequence[str]) -> list[Judged]:
        """Run test files in one way, run what failed undelegated, and judge."""
        seen = await self._seen(way, files)
        differences = read_differences(DIFFERENCES)
        failed = [
            one.test
            for one in seen
            if one.outcome == "failed" and not any(known.covers(one.test, way) for known in differences)
        ]
        undelegated = await self._seen(Way.PLAIN, files, failed) if failed else []
        return judge(way, seen, differences, {one.test: one for one in undelegated})

    async def _seen(self, way: Way, files: Sequence[str], only: Sequence[str] | None = None) -> list[Seen]:
        """Return what the tests did. Each file has a process of its own."""
        found: list[Seen] = []
        async with servers() as environment:
            for file in files:
                chosen = [file] if only is None else [test for test in only if test.startswith(f"{file}::")]
                if chosen:
                    found += await self._file(way, file, chosen, environment)
        return found

    async def _file(self, way: Way, file: str, chosen: Sequence[str], environment: Mapping[str, str]) -> list[Seen]:
        done: list[Seen] = []
        while True:
            report = self.folder / f"{way}.part.jsonl"
            report.unlink(missing_ok=True)
            rest = [part for one in done for part in ("--deselect", one.test)]
            started = time.monotonic()
            status = await self._pytest(way, [*chosen, *rest, *self.arguments], environment, report)
            ended = read_report(report)
            done += ended
            counts = ", ".join(f"{count} {outcome}" for outcome, count in Counter(one.outcome for one in ended).items())
            print(f"{way}: {file}: {counts or 'none'} in {time.monotonic() - started:.0f} s", flush=True)
            with (self.folder / f"{way}.jsonl").open("a") as whole:
                whole.writelines(one.as_line() + "\n" for one in ended)
            if status != _NO_TESTS and not ended:
                # It can't be imported, for example: that is a failure, too.
                return [*done, Seen(file, "failed", 0, f"pytest ended with {status}: see {self.folder}/{way}.log")]
            # A process ends with a test that times out. The file's other tests run in a new one.
            died = any(one.error == DIED for one in ended)
            if not ended or (status in _COMPLETE and not died):
                return done

    async def _pytest(self, way: Way, arguments: Sequence[str], environment: Mapping[str, str], report: Path) -> int:
        ours = ("TEMPORAL_", "DELEGATOR_", "CONFORMANCE_")
        variables = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        variables |= environment
        variables |= {
            "CONFORMANCE_WAY": way,
            "CONFORMANCE_REPORT": str(report),
            "CONFORMANCE_LIMIT": str(self.limit),
            "CONFORMANCE_SHARE": "1" if self.quick else "",
            "CONFORMANCE_LOGS": str(self.folder),
            "CONFORMANCE_TEMPORAL": str(temporal_program()),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "TEMPORAL_CONFIG_FILE": os.devnull,
        }
        command = [str(self.sdk.python), "-m", "pytest", "-p", "conformance.pytest_plugin", *_OPTIONS]
        with (self.folder / f"{way}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(*command, f"--timeout={self.limit}", *arguments),
                cwd=self.sdk.source,
                env=variables,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                return await process.wait()
            finally:
                # Also what the tests started and left.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def table(judged: Mapping[Way, Sequence[Judged]]) -> str:
    """Return what is not a plain pass, and the counts."""
    lines = []
    for way, found in judged.items():
        for one in found:
            if one.verdict not in (Verdict.PASSES, Verdict.NO_JOB):
                lines.append(f"{way}: {one.verdict}: {one.seen.test}\n    {one.reason[:300]}")
    lines += ["", " " * 16 + "".join(f"{verdict:>24}" for verdict in Verdict)]
    for way, found in judged.items():
        counts = Counter(one.verdict for one in found)
        lines.append(f"{way:16}" + "".join(f"{counts[verdict]:>24}" for verdict in Verdict))
    return "\n".join(lines)


def main() -> int:
    """Run what the command line names. Return 1 if a test fails."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--way", choices=list(map(str, Way)), action="append", help="by default both ways")
    parser.add_argument("--sdk", help="version of temporalio; `lowest`: the lowest permitted; default: the installed")
    parser.add_argument("--sdk-repository", help=f"where the SDK's tests are: a URL or a folder ({REPOSITORY})")
    parser.add_argument("--report", type=Path, help="folder for the logs of the tests; by default a temporary one")
    parser.add_argument("--timeout", type=int, default=60, help="seconds that a test may take (60)")
    parser.add_argument("--quick", action="store_true", help="only for a look: workflows share modules")
    parser.add_argument("-k", help="pytest's -k")
    parser.add_argument("files", nargs="*", help="test files of the SDK; by default all that use activities")
    options = parser.parse_args()
    try:
        sdk = prepare(options.sdk, options.sdk_repository)
        folder = (options.report or Path(tempfile.mkdtemp(prefix="conformance-"))).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        print(f"temporalio {sdk.version}, the SDK's tests of {sdk.tests_version}; logs in {folder}", flush=True)
        run = Run(sdk, folder, options.timeout, options.quick, ["-k", options.k] if options.k else [])
        files = options.files or files_with_activities(sdk.source)
        judged = {way: asyncio.run(run.judged(way, files)) for way in map(Way, options.way or _WAYS)}
    except DelegatorError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    print(table(judged))
    return int(any(one.verdict is Verdict.FAILS for found in judged.values() for one in found))


if __name__ == "__main__":
    sys.exit(main())
