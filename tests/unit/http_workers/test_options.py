from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from delegator.config import Settings
from delegator.errors import ConfigurationError
from http_workers.options import WorkerOptions


def options(**changes: Any) -> WorkerOptions:
    return WorkerOptions(**{"modules": ("tasks",), **changes})


def test_the_defaults_are_valid():
    options().validate(Settings.load())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"modules": ()}, "--import"),
        ({"queue": "video"}, "--queue video.*DELEGATOR_QUEUES.*delegator migrate"),
        ({"concurrency": 0}, "--concurrency"),
        ({"processes": 0}, "--processes"),
        ({"processes": 5000}, "--processes"),
        ({"port": -1}, "--port"),
        ({"port": 65_536}, "--port"),
        ({"grace": timedelta(seconds=-1)}, "--grace"),
        ({"stall_limit": timedelta(0)}, "--stall-limit"),
    ],
)
def test_what_can_not_work_is_refused_by_name(changes: dict[str, Any], named: str):
    with pytest.raises(ConfigurationError, match=named):
        options(**changes).validate(Settings.load())


def test_a_declared_queue_is_served():
    options(queue="video").validate(Settings.load(queues="default,video"))
