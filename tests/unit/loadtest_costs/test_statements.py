"""SQL statements: their texts, sums, tables and logs. The numbers are made up."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from loadtest.meters.statement_log import traced, transactions
from loadtest.meters.statement_texts import described
from loadtest.results.comparison import Comparison
from loadtest.results.costs import Costs
from loadtest.results.statement_tables import MOST_ROWS, has_statements, statement_tables
from loadtest.results.statements import QUEUE, TEMPORAL, ServerStatements, Statement
from tests.unit.loadtest_report.results import run


def statement(queryid: str, verb: str, table: str, calls: int, **changes: Any) -> Statement:
    counts = {"rows": calls, "exec_ms": calls / 10, "wal_bytes": calls * 100, "wal_fpi": 0, "blocks": calls}
    return Statement(queryid, verb, table, f"{verb} {table}", **{"calls": calls, **counts, **changes})


def server(*statements: Statement, background: tuple[Statement, ...] = (), **changes: Any) -> ServerStatements:
    values = {"seconds": 2.0, "background_seconds": 10.0, "own_calls": 3, "incomplete": False}
    return ServerStatements(statements=list(statements), background=list(background), **{**values, **changes})


def costs(**servers: ServerStatements) -> Costs:
    return Costs(None, {}, None, None, None, {}, statements=servers)


@pytest.mark.parametrize(
    ("text", "verb", "table"),
    [
        ("SELECT range_id FROM shards WHERE shard_id = $1 FOR SHARE", "SELECT", "shards"),
        ("SELECT a FROM executions WHERE b = $1 FOR NO KEY UPDATE", "SELECT", "executions"),
        ("SELECT x FROM unnest($1::int[]) AS x JOIN t ON true", "SELECT", ""),
        ("select count(*)\n  from public.\"tasks\"", "SELECT", "tasks"),
        ("INSERT INTO history_node (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET b = $2", "INSERT", "history_node"),
        ("INSERT INTO timer_tasks(a) SELECT b FROM executions FOR UPDATE", "INSERT", "timer_tasks"),
        ("WITH due AS (SELECT id FROM q FOR UPDATE SKIP LOCKED) DELETE FROM ONLY q USING due", "DELETE", "q"),
        ("WITH claimed AS (UPDATE custom_task_queue AS q SET a = $1 RETURNING b) SELECT b FROM claimed", "UPDATE",
         "custom_task_queue"),
        ("WITH one AS (SELECT $1) SELECT * FROM one", "SELECT", "one"),
        ("/* who */ UPDATE t -- why\n SET a = $1", "UPDATE", "t"),
        ("BEGIN READ WRITE", "BEGIN", ""),
        ("COMMIT;", "COMMIT", ""),
        ("SELECT pg_notify($1, $2)", "SELECT", ""),
    ],
)  # fmt: skip
def test_verb_and_table(text: str, verb: str, table: str) -> None:
    assert described(text)[:2] == (verb, table)


def test_long_text() -> None:
    """A text has one line of at most 200 characters, and no comments."""
    _, _, short = described("SELECT /* loadtest */ " + ", ".join(f"column_{number}\n" for number in range(100)))
    assert len(short) == 200
    assert short.startswith("SELECT column_0 , column_1")
    assert short.endswith("…")


def test_background_is_subtracted() -> None:
    """What idle servers run in the same time is subtracted by verb and table, and never makes a number negative."""
    found = server(
        statement("1", "INSERT", "tasks", 40),
        statement("2", "SELECT", "shards", 10),
        statement("3", "SELECT", "shards", 5),
        background=(statement("2", "SELECT", "shards", 20), statement("9", "SELECT", "cluster_metadata", 100)),
    )
    # The window is a fifth as long as the idle look.
    assert found.net("calls") == {("INSERT", "tasks"): 40, ("SELECT", "shards"): 11}
    assert found.background_total("calls") == pytest.approx(24)
    assert found.net_total("calls") == pytest.approx(31)
    assert found.net_total("wal_bytes") == pytest.approx(3100)
    assert server(*found.statements, background_seconds=0.0).net_total("calls") == 55


def test_medians_of_statements() -> None:
    """A statement that a run did not need counts as 0. One incomplete run makes the median incomplete."""
    runs = [
        server(statement("1", "INSERT", "tasks", 10), statement("2", "SELECT", "shards", 3)),
        server(statement("1", "INSERT", "tasks", 20), incomplete=True),
        server(statement("1", "INSERT", "tasks", 90)),
    ]
    median = ServerStatements.median(runs)
    assert [(one.queryid, one.calls) for one in median.statements] == [("1", 20), ("2", 0)]
    assert median.incomplete


def test_statements_per_job_are_not_0_if_they_were_not_counted() -> None:
    per_job = costs(queue=server(statement("1", "INSERT", "q", 50))).per(100)
    assert per_job is not None
    assert per_job.statements == {QUEUE: 0.5}
    assert (per_job.temporal_wal_bytes, per_job.temporal_commits, per_job.temporal_dead_tuples) == (None,) * 3


def compared(**arms: ServerStatements | None) -> Comparison:
    return Comparison(
        "single",
        1,
        {arm: [run(arm, costs=costs(**({TEMPORAL: of} if of else {})))] for arm, of in arms.items()},
    )


def test_tables_have_an_arm_per_column() -> None:
    update = statement("2", "UPDATE", "executions", 100)
    found = compared(
        classic=server(statement("1", "INSERT", "activity_info_maps", 200), replace(update, calls=300)),
        delegated=server(update, background=(replace(update, calls=50),)),
        floor=None,
    )
    (table,) = statement_tables(found, "calls")
    assert (table.server, table.arms, table.incomplete) == (TEMPORAL, ["classic", "delegated", "floor"], [])
    assert [(row.label, row.values, row.differences) for row in table.rows] == [
        ("UPDATE executions", [3.0, pytest.approx(0.9), None], [None, pytest.approx(-2.1), None]),
        ("INSERT activity_info_maps", [2.0, 0, None], [None, -2.0, None]),
    ]
    others, whole, background = table.sums
    assert list(others.values) == [0, 0, None]
    assert whole.values == [5.0, pytest.approx(0.9), None]
    assert background.values == [0, pytest.approx(0.1), None]
    assert has_statements(found)
    assert not has_statements(compared(classic=None))
    assert statement_tables(compared(classic=None), "calls") == []


def test_rows_beyond_the_most() -> None:
    """The rows that a table does not show are one sum. Evicted statements are said for each arm."""
    many = [statement(str(number), "SELECT", f"t{number:02}", 1000 - number) for number in range(MOST_ROWS + 2)]
    (table,) = statement_tables(compared(classic=server(*many, incomplete=True)), "calls")
    assert [row.table for row in table.rows] == [f"t{number:02}" for number in range(MOST_ROWS)]
    assert table.sums[0].values == [pytest.approx((985 + 984) / 100)]
    assert table.incomplete == ["classic"]


LOG = """\
2026-12-01 01:00:00.100 UTC [11] temporal |LOG:  duration: 0.010 ms  parse <unnamed>: BEGIN
2026-12-01 01:00:00.100 UTC [11] temporal |LOG:  duration: 0.030 ms  statement: BEGIN READ WRITE
2026-12-01 01:00:00.101 UTC [12] delegator serve|LOG:  duration: 0.500 ms  execute _pg3_1: SELECT a
\t  FROM custom_task_lease
\t WHERE b = $1
2026-12-01 01:00:00.102 UTC [11] temporal |LOG:  duration: 0.200 ms  execute stmtcache_1: INSERT INTO tasks VALUES ($1)
2026-12-01 01:00:00.103 UTC [13] delegator loadtest|LOG:  duration: 0.200 ms  statement: DELETE FROM q
2026-12-01 01:00:00.104 UTC [9]  |LOG:  checkpoint complete: wrote 3 buffers
2026-12-01 01:00:00.105 UTC [11] temporal |LOG:  duration: 2.000 ms  statement: COMMIT
"""


def test_transactions_of_a_log() -> None:
    """The statements of a transaction stay together, whatever other sessions write between them."""
    first, second = transactions(LOG)
    assert [(one.verb, one.table, one.ms) for one in first.transaction.statements] == [
        ("BEGIN", "", 0.03),
        ("INSERT", "tasks", 0.2),
        ("COMMIT", "", 2.0),
    ]
    assert second.transaction.application == "serve"
    assert [one.query for one in second.transaction.statements] == ["SELECT a FROM custom_task_lease WHERE b = $1"]


def test_a_transaction_without_an_end() -> None:
    (found,) = transactions("\n".join(LOG.splitlines()[1:2]))
    assert [one.verb for one in found.transaction.statements] == ["BEGIN"]


def test_idle_transactions_are_left_out() -> None:
    found = transactions(LOG)
    trace = traced(found, found[1:], datetime(2026, 12, 1, 1))
    assert (trace.statements, trace.background) == (3, 1)
    assert trace.transactions[0].at_ms == pytest.approx(100)
    assert traced(found, [replace(found[0])], found[0].moment).background == 1
