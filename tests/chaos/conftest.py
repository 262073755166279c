"""One arena for all scenarios, and the table at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import astuple, fields

import pytest

from tests.chaos.arena import Arena, arena
from tests.chaos.load import RECOVERY, Load, Outcome, check

Finish = Callable[..., Awaitable[Outcome]]
_OUTCOMES = pytest.StashKey[list[Outcome]]()


@pytest.fixture(scope="session")
async def shared_arena() -> AsyncIterator[Arena]:
    async with arena() as made:
        yield made


@pytest.fixture
async def field(shared_arena: Arena) -> Arena:
    """The arena, everything running."""
    await shared_arena.heal()
    return shared_arena


@pytest.fixture
def finish(request: pytest.FixtureRequest) -> Finish:
    """`await finish(load)`: wait for a load's end, enter it into the table, and hold it to the promises."""

    async def finish(load: Load, *, recovery: float = RECOVERY) -> Outcome:
        outcome = await load.outcome()
        request.config.stash.setdefault(_OUTCOMES, []).append(outcome)
        check(outcome, recovery=recovery)
        return outcome

    return finish


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    outcomes = config.stash.get(_OUTCOMES, [])
    if not outcomes:
        return
    terminalreporter.section("chaos")
    header = ["scenario", "inline", "jobs", "lost", "stuck", "wrong", "double", "excused", "unfinished", "recovery s"]
    assert len(header) == len(fields(Outcome))
    rows = [header, *([*map(str, astuple(outcome)[:-1]), f"{outcome.recovery:.1f}"] for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        terminalreporter.write_line("  ".join(cells))
