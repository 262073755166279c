from __future__ import annotations

import pytest

from loadtest.costs.persistence import parse

METRICS = """\
# HELP persistence_requests persistence_requests counter
# TYPE persistence_requests counter
persistence_requests{{namespace="default",operation="GetTaskQueue",service_name="matching"}} 5
persistence_requests{{namespace="other",operation="GetTaskQueue",service_name="matching"}} 2
persistence_requests{{namespace="default",operation="UpdateWorkflowExecution",service_name="history"}} 1e+06
# HELP persistence_errors persistence_errors counter
# TYPE persistence_errors counter
persistence_errors{{operation="GetTaskQueue",service_name="matching"}} 9
{more}
"""


def test_counts_by_operation_whatever_the_namespace() -> None:
    assert parse(METRICS.format(more="")) == {"GetTaskQueue": 7, "UpdateWorkflowExecution": 1_000_000}


def test_the_ending_that_other_frameworks_add() -> None:
    text = '# TYPE persistence_requests_total counter\npersistence_requests_total{operation="GetTask"} 4\n'
    assert parse(text) == {"GetTask": 4}


@pytest.mark.parametrize("text", ["# TYPE up gauge\nup 1\n", "<html>no metrics here</html>"])
def test_another_programs_answer(text: str) -> None:
    assert parse(text) is None


def test_another_format_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        parse('{"persistence_requests": 1}')
