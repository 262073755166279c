"""One arena for all scenarios, and the table at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from tests.chaos.arena import Arena, arena
from tests.chaos.load import LONG, RECOVERY, Finish, Load, Outcome, check

_PROPERTY = "chaos"

pytest.register_assert_rewrite(
    *(f"tests.chaos.{name}" for name in ("handlers", "monkey", "network", "processes", "servers", "stream"))
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests time for a fault, for workflows that may be stuck, and for a second load without the fault."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800 if LONG else 240))


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
        request.node.user_properties.append((_PROPERTY, asdict(outcome)))
        if not outcome.stuck and outcome.recovery > recovery:
            recovery += await load.undisturbed()  # so much work may be left when the fault ends, on this machine now
        check(outcome, recovery=recovery)
        return outcome

    return finish


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    outcomes = [
        Outcome(**value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == _PROPERTY
    ]
    if not outcomes:
        return
    terminalreporter.section("chaos")
    names = [field.name for field in fields(Outcome)]
    rows = [names, *([outcome.cell(name) for name in names] for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        terminalreporter.write_line("  ".join(cells))
