from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.results.costs import Costs, ProcessCost

counts = st.none() | st.integers(0, 10**12)
processes = st.dictionaries(
    st.sampled_from(["postgres", "relay", "worker"]),
    st.builds(ProcessCost, cpu_s=st.floats(0, 1e6), peak_rss_bytes=st.integers(0, 2**40)),
)
operations = st.dictionaries(st.sampled_from(["CreateTask", "UpdateWorkflowExecution"]), st.integers(1, 10**9))
all_costs = st.builds(
    lambda by_operation, **others: Costs(
        persistence_operations=None if by_operation is None else sum(by_operation.values()),
        persistence_by_operation=by_operation or {},
        **others,
    ),
    by_operation=st.none() | operations,
    wal_bytes=counts,
    commits=counts,
    dead_tuples=counts,
    processes=processes,
)


def costs(number: int, **changes: object) -> Costs:
    values = {
        "persistence_operations": number,
        "persistence_by_operation": {"UpdateWorkflowExecution": number},
        "wal_bytes": number * 100,
        "commits": number,
        "dead_tuples": number,
        "processes": {"postgres": ProcessCost(cpu_s=number / 100, peak_rss_bytes=number * 1000)},
    }
    return Costs(**values | changes)


def test_costs_per_job() -> None:
    per_job = costs(40, commits=None).per(80)
    assert per_job is not None
    assert (per_job.persistence_operations, per_job.wal_bytes, per_job.commits) == (0.5, 50.0, None)
    assert per_job.cpu_ms == {"postgres": pytest.approx(5.0)}


def test_nothing_done_has_no_cost_per_job() -> None:
    assert costs(40).per(0) is None


def test_medians() -> None:
    """A median ignores runs that did not measure the number."""
    runs = [costs(10), costs(30, commits=None, processes={}), costs(50)]
    median = Costs.median(runs)
    assert median is not None
    assert (median.persistence_operations, median.commits, median.wal_bytes) == (30, 30, 3000)
    assert median.persistence_by_operation == {"UpdateWorkflowExecution": 30}
    assert median.processes == {"postgres": ProcessCost(cpu_s=pytest.approx(0.3), peak_rss_bytes=30_000)}


def test_missing_operation() -> None:
    """An operation that a run did not need counts as 0 in the median."""
    runs = [costs(10), costs(10, persistence_by_operation={}), costs(10, persistence_by_operation={})]
    median = Costs.median(runs)
    assert median is not None
    assert median.persistence_by_operation == {"UpdateWorkflowExecution": 0}


def test_no_runs_have_no_median() -> None:
    assert Costs.median([]) is None


@given(all_costs)
def test_the_median_of_one_run_is_that_run(run: Costs) -> None:
    assert Costs.median([run]) == run


@given(st.lists(all_costs, min_size=1, max_size=5))
def test_a_median_lies_between_the_runs(runs: list[Costs]) -> None:
    median = Costs.median(runs)
    assert median is not None
    for name in ("persistence_operations", "wal_bytes", "commits", "dead_tuples"):
        known = [value for run in runs if (value := getattr(run, name)) is not None]
        value = getattr(median, name)
        assert (value is None) is not known
        assert value is None or min(known) <= value <= max(known)
    assert set(median.processes) == {name for run in runs for name in run.processes}
