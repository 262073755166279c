"""What a plugin is given, and what it finds."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.worker import Worker

from delegator import DelegatorPlugin, PluginOptions, Settings, contract, delegated, existing_activities
from delegator.contracts import collect_types
from delegator.contracts.collect import types_used_by
from delegator.errors import ConfigurationError


@pytest.mark.parametrize("sources", [[], [json], [[]]], ids=["nothing", "module without types", "empty list"])
@pytest.mark.parametrize("options", [{"intercept": True}, {"options": PluginOptions(intercept=True)}])
def test_nothing_to_intercept(sources: list[Any], options: dict[str, Any]):
    """A plugin that is to intercept calls, and is given no type whose calls these are, says so."""
    with pytest.raises(ConfigurationError, match=r"intercept=True needs|declares no delegated activity type"):
        DelegatorPlugin(sources, **options)


@activity.defn(dynamic=True)
async def catches_all(args: Sequence[RawValue]) -> None: ...


@activity.defn
async def own() -> None: ...


async def test_dynamic_activity_beside_others():
    """A worker can't have activities of its own beside a delegated dynamic one."""
    plugin = DelegatorPlugin(existing_activities(catches_all), settings=Settings(), intercept=True)
    client = await Client.connect("127.0.0.1:1", lazy=True, plugins=[plugin])
    with pytest.raises(ConfigurationError, match=r"activities \(own\) a worker and a task queue of their own"):
        Worker(client, task_queue="queue", activities=[own])
    assert collect_types(existing_activities(catches_all)).get("anything").name == "anything"
    with pytest.raises(ConfigurationError, match="has no name: give it by existing_activities"):
        delegated(catches_all)


def test_types_of_workflow_modules(monkeypatch: pytest.MonkeyPatch):
    """The types are found that a workflow's module has itself, or has a module of."""

    @delegated(queue="near")
    async def near() -> None: ...

    @contract(queue="far")
    async def far() -> None: ...

    tasks, flows = ModuleType("tasks_of_test"), ModuleType("flows_of_test")
    vars(tasks).update(far=far, json=json)
    vars(flows).update(renamed=near, tasks=tasks)
    monkeypatch.setitem(sys.modules, "flows_of_test", flows)
    workflow = type("Flow", (), {"__module__": "flows_of_test"})
    gone = type("Flow", (), {"__module__": "gone"})
    assert {name: one.queue for name, one in types_used_by([workflow, gone]).items()} == {"near": "near", "far": "far"}
