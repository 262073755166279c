from __future__ import annotations

import pytest

from loadtest.meters.persistence import parse

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


def test_counts_by_operation() -> None:
    """Calls are counted by operation, over all namespaces."""
    assert parse(METRICS.format(more="")) == {"GetTaskQueue": 7, "UpdateWorkflowExecution": 1_000_000}


def test_counter_suffix() -> None:
    """Some versions of the server add `_total` to the name."""
    text = '# TYPE persistence_requests_total counter\npersistence_requests_total{operation="GetTask"} 4\n'
    assert parse(text) == {"GetTask": 4}


def test_another_programs_metrics() -> None:
    assert parse("# TYPE up gauge\nup 1\n") is None


@pytest.mark.parametrize("text", ["<html>no metrics here</html>", '{"persistence_requests": 1}'])
def test_other_formats_are_value_errors(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)
