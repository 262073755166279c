"""The commands `bulk` and `peers`: queues without workflows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from typing import Annotated, Any, Final

import typer
from rich.console import Group

from delegator.errors import ConfigurationError
from loadtest.commands.common import JsonOption, SharedOption, check_rounds, check_writable, run_loop, show
from loadtest.peers.pgqueuer_queue import PgQueuerQueue
from loadtest.peers.procrastinate_queue import ProcrastinateQueue
from loadtest.peers.scratch import PeerQueue
from loadtest.queues.bare import BATCH, CONNECTIONS, YARDSTICKS, create_table, run_bare
from loadtest.queues.contender import Contender
from loadtest.queues.delegator_queue import DelegatorQueue, OrderedQueue
from loadtest.queues.load import BulkLoad, Mode
from loadtest.queues.queue_rounds import Run, compare
from loadtest.queues.queue_run import run_contender
from loadtest.results.queue_result import BulkComparison
from loadtest.servers.databases import scratch_database
from loadtest.servers.guard import undisturbed_servers
from loadtest.servers.stack import Servers
from loadtest.terminal.progress_bar import progress_bar
from loadtest.terminal.queue_tables import bulk_table

JobsOption = Annotated[int | None, typer.Option(help="Jobs. Default: 50,000.")]
PayloadOption = Annotated[int, typer.Option(help="Bytes that each job carries.")]
BacklogOption = Annotated[bool, typer.Option("--backlog", help="Enqueue all jobs, then start the worker.")]
RateOption = Annotated[
    float | None, typer.Option(help="Jobs enqueued in a second, whether the worker keeps up or not.")
]
DurationOption = Annotated[
    float | None, typer.Option(help="Seconds for which jobs are enqueued at --rate. Default: 30.")
]
RoundsOption = Annotated[int, typer.Option(help="Runs of each queue.")]

_USED: Final = ("postgres", "relay")
_PEERS: Final[Mapping[str, type[PeerQueue]]] = {queue.name: queue for queue in (PgQueuerQueue, ProcrastinateQueue)}
_JOBS: Final = 10_000
_RATE: Final = 100.0  # jobs a second
_SECONDS: Final = 20.0
_MODULES: Final = {PgQueuerQueue.name: ("pgqueuer", "asyncpg"), ProcrastinateQueue.name: ("procrastinate",)}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("bulk")(bulk)
    app.command("peers")(peers)


def bulk(
    jobs: JobsOption = None,
    payload_bytes: PayloadOption = 100,
    backlog: BacklogOption = False,
    rate: RateOption = None,
    duration: DurationOption = None,
    bare: Annotated[
        bool | None,
        typer.Option(
            help="Also run plain psycopg loops of insert, claim and delete, as yardsticks. Default: unless --rate."
        ),
    ] = None,
    ordered: Annotated[
        bool, typer.Option("--ordered", help="Also run the load through an ordered queue: priorities, ten tenants.")
    ] = False,
    rounds: RoundsOption = 3,
    shared: SharedOption = False,
    json_file: JsonOption = None,
) -> None:
    """Measure the path without workflows: enqueue, stream, claim, run, delete."""
    load = BulkLoad.of(jobs=jobs, payload_bytes=payload_bytes, backlog=backlog, rate=rate, duration=duration)
    if bare and load.rate is not None:
        raise ConfigurationError("--bare and --rate: the plain loops have no rate, so leave one of both out")
    check_rounds(rounds)
    check_writable(json_file)

    async def work() -> BulkComparison:
        with progress_bar() as progress:
            async with undisturbed_servers(delegates=True, shared=shared) as available:
                queue = DelegatorQueue(available.environment)
                contenders = [queue, OrderedQueue(available.environment)] if ordered else [queue]
                pids = pids_of(available)
                arms: dict[str, Run] = {each.name: _runs_of(each, pids) for each in contenders}
                settings: dict[str, Any] = {each.name: dict(each.settings) for each in contenders}
                if bare is False or load.rate is not None:
                    return await compare(arms, load, rounds, progress, url=queue.database_url, settings=settings)
                async with scratch_database(queue.database_url) as scratch:
                    await create_table(scratch)
                    for name in YARDSTICKS:
                        arms[name] = partial(run_bare, name, scratch)
                        settings[name] = {"batch": BATCH, "connections": CONNECTIONS}
                    return await compare(arms, load, rounds, progress, url=queue.database_url, settings=settings)

    comparison = run_loop(work())
    show(bulk_table(comparison, DelegatorQueue.name), comparison.to_json(), json_file)
    if comparison.failed:
        raise typer.Exit(1)


def pids_of(available: Servers) -> dict[str, int]:
    """Return the processes of the servers that jobs without workflows use."""
    return {name: pid for name, pid in available.processes.items() if name in _USED}


def peers(
    queues: Annotated[str, typer.Option(help="Peers, comma-separated.")] = ",".join(_PEERS),
    scenarios: Annotated[str, typer.Option(help=f"Comma-separated, of {', '.join(Mode)}.")] = "bulk,steady",
    jobs: Annotated[int | None, typer.Option(help="Jobs of bulk and backlog. Default: 10,000.")] = None,
    payload_bytes: PayloadOption = 100,
    rate: Annotated[float | None, typer.Option(help="Jobs enqueued in a second by steady. Default: 100.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds of steady. Default: 20.")] = None,
    rounds: RoundsOption = 3,
    shared: SharedOption = False,
    json_file: JsonOption = None,
) -> None:
    """Run other queues in PostgreSQL, pgqueuer and procrastinate, beside ours: one worker process each."""
    names = _listed("--queues", queues, tuple(_PEERS))
    modes = _listed("--scenarios", scenarios, tuple(Mode))
    if Mode.STEADY not in modes and (rate is not None or duration is not None):
        raise ConfigurationError("--rate and --duration belong to steady, which is not among --scenarios")
    if modes == [Mode.STEADY] and jobs is not None:
        raise ConfigurationError("--jobs: steady has --rate times --duration jobs, so leave --jobs out")
    missing = [module for name in names for module in _MODULES[name] if find_spec(module) is None]
    if missing:
        raise ConfigurationError(
            f"not installed: {', '.join(missing)}; pip install 'temporal-delegator[peers]', or name other --queues"
        )
    loads = {mode: _load(Mode(mode), jobs, payload_bytes, rate, duration) for mode in modes}
    check_rounds(rounds)
    check_writable(json_file)

    async def work() -> dict[str, BulkComparison]:
        with progress_bar() as progress:
            async with undisturbed_servers(delegates=True, shared=shared) as available:
                ours = DelegatorQueue(available.environment)
                async with scratch_database(ours.database_url) as scratch:
                    others = [_PEERS[name](scratch) for name in names]
                    for other in others:
                        await other.install()
                    contenders: list[Contender] = [ours, *others]
                    pids = {queue.name: _without_relay(pids_of(available)) for queue in others}
                    pids[ours.name] = pids_of(available)
                    settings: dict[str, Any] = {queue.name: dict(queue.settings) for queue in contenders}
                    return {
                        mode: await compare(
                            {queue.name: _runs_of(queue, pids[queue.name]) for queue in contenders},
                            load,
                            rounds,
                            progress,
                            url=ours.database_url,
                            settings=settings,
                            packages=tuple(module for name in names for module in _MODULES[name]),
                        )
                        for mode, load in loads.items()
                    }

    comparisons = run_loop(work())
    shown = Group(*(bulk_table(comparison, DelegatorQueue.name) for comparison in comparisons.values()))
    show(shown, {mode: comparison.to_json() for mode, comparison in comparisons.items()}, json_file)
    if any(comparison.failed for comparison in comparisons.values()):
        raise typer.Exit(1)


def _listed(option: str, text: str, known: tuple[str, ...]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) != len(names) or not set(names) <= set(known):
        raise ConfigurationError(f"{option} {text}: name one or more of {', '.join(known)}, each once")
    return names


def _load(mode: Mode, jobs: int | None, payload_bytes: int, rate: float | None, duration: float | None) -> BulkLoad:
    if mode is Mode.STEADY:
        return BulkLoad.of(
            jobs=None,
            payload_bytes=payload_bytes,
            backlog=False,
            rate=_RATE if rate is None else rate,
            duration=_SECONDS if duration is None else duration,
        )
    return BulkLoad.of(
        jobs=_JOBS if jobs is None else jobs,
        payload_bytes=payload_bytes,
        backlog=mode is Mode.BACKLOG,
        rate=None,
    )


def _without_relay(pids: Mapping[str, int]) -> dict[str, int]:
    return {name: pid for name, pid in pids.items() if name != "relay"}


def _runs_of(queue: Contender, pids: Mapping[str, int]) -> Run:
    return lambda load, advance: run_contender(queue, load, pids, advance)
