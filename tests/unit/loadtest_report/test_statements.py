"""The SQL statements and both servers' writes on the page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loadtest.report.files import comparisons
from loadtest.report.page import page
from loadtest.report.what_ran import command
from loadtest.results.costs import Costs
from loadtest.results.statements import QUEUE, TEMPORAL, ServerStatements, Statement
from tests.unit.loadtest_report.results import comparison, run
from tests.unit.loadtest_report.test_page import Page, drawings_in, said


def counted(calls: int, **changes: Any) -> ServerStatements:
    insert = Statement("-1", "INSERT", "history_node", "INSERT INTO history_node <b>", calls, calls, 1.0, 2048, 0, 9)
    commit = Statement("2", "COMMIT", "", "COMMIT", calls * 2, 0, 0.5, 0, 0, 0)
    values = {"seconds": 2.0, "background_seconds": 4.0, "own_calls": 1, "incomplete": False}
    return ServerStatements(
        statements=[commit, insert], background=[replace(commit, calls=20)], **{**values, **changes}
    )


def costs(calls: int, **changes: Any) -> Costs:
    found = run().costs
    assert found is not None
    values = {"temporal_wal_bytes": calls * 100, "temporal_commits": calls, "temporal_dead_tuples": 0}
    servers = {TEMPORAL: counted(calls, **changes), QUEUE: counted(10)}
    return replace(found, statements=servers, **values)


def two_arms(**changes: Any) -> Any:
    classic, delegated = run("classic", costs=costs(500)), run("delegated", costs=costs(100, **changes))
    found = comparison("classic", "delegated", rounds=1)
    return replace(found, runs={"classic": [classic], "delegated": [delegated]})


def test_tables_of_statements() -> None:
    shown = Page(page([two_arms()])).text
    assert "Statements per job: Temporal's PostgreSQL server" in shown
    assert "Write-ahead log of statements per job: the queue's PostgreSQL server" in shown
    assert "INSERT history_node the history: a batch of events in each row 5.00 1.00 \N{MINUS SIGN}4.00" in shown
    # Idle servers would have committed ten times in the window of a hundred jobs.
    assert "COMMIT 9.90 1.90 \N{MINUS SIGN}8.00" in shown
    assert "background, subtracted 0.1 0.1" in shown
    assert "Incomplete" not in shown
    assert "SQL statements" not in Page(page([comparison("classic")])).text


def test_incomplete_statements() -> None:
    shown = Page(page([two_arms(incomplete=True)])).text
    assert (
        "Incomplete: PostgreSQL removed statements from its list (pg_stat_statements.max) in the runs of delegated."
        in shown
    )


def test_both_servers_in_one_bar() -> None:
    """The bars of writes have a part for each server. An arm without a number of both has no bar."""
    found = two_arms()
    text = page([found])
    assert Page(text).text.count("Of two PostgreSQL servers: the queue's (postgres) and Temporal's own") == 4
    wal = [said(drawing) for drawing in drawings_in(text) if "bytes per job" in said(drawing)]
    assert wal == ["classic: 1,700 bytes per job; delegated: 1,300 bytes per job"]
    half = replace(found.runs["delegated"][0], costs=replace(costs(100), temporal_wal_bytes=None))
    found = replace(found, runs={**found.runs, "delegated": [half]})
    wal = [said(drawing) for drawing in drawings_in(page([found])) if "bytes per job" in said(drawing)]
    assert wal == ["classic: 1,700 bytes per job"]
    assert "write-ahead log, Temporal's server per job 500 B -" in Page(page([found])).text


def test_statements_are_read_as_they_were_written() -> None:
    written = run("classic", costs=costs(500)).to_json()
    (found,) = comparisons([written])
    assert found.runs["classic"][0].costs == costs(500)


def test_runs_with_and_without_are_not_mixed() -> None:
    """Runs that counted statements are another comparison than runs that did not."""
    settings = run().settings
    results = [run("classic"), run("classic", settings={**settings, "statements": True}), run("delegated")]
    found = comparisons([result.to_json() for result in results])
    assert [list(one.runs) for one in found] == [["classic", "delegated"], ["classic"]]
    assert "--statements" not in command(found[0])
    assert command(found[1]).endswith("--statements")
