"""The workflow sandbox for workers that delegate. Our packages pass through it, and needless calls are left out."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from temporalio.converter import DataConverter
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import Info

PASS_THROUGH: Final = (
    "delegator",
    "delegator_schema",
    "http_workers",  # a program in one file imports it beside its workflows
    "orjson",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
)
"""Modules that workflow code shares with the worker. They have no state that can affect a workflow."""


def delegating_runner(runner: WorkflowRunner | None, converter: DataConverter) -> WorkflowRunner:
    """Return a workflow runner for workflows that delegate. A runner of another class than the SDK's stays as it is.

    Args:
        runner: the worker's runner; None: the SDK's default.
        converter: the client's data converter.
    """
    runner = runner or SandboxedWorkflowRunner()
    if type(runner) is not SandboxedWorkflowRunner:
        return runner
    restrictions: SandboxRestrictions = runner.restrictions.with_passthrough_modules(*PASS_THROUGH)
    if converter.payload_codec is None and getattr(converter, "external_storage", None) is None:
        return _ContextFreeRunner(restrictions=restrictions, runner_class=runner.runner_class)
    return dataclasses.replace(runner, restrictions=restrictions)


class _ContextFreeRunner(SandboxedWorkflowRunner):
    """The sandbox for data converters without codec and external storage.

    For every payload of an activation the SDK (1.35) enters the sandbox up to seven times to ask for a serialization
    context. Only a codec or an external storage uses it. The calls took a third of the time of a worker that delegates.
    """

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _ContextFreeInstance(super().create_instance(det))


class _ContextFreeInstance(WorkflowInstance):
    """A sandboxed workflow that has no serialization contexts."""

    def __init__(self, sandboxed: WorkflowInstance) -> None:
        self._sandboxed = sandboxed

    def activate(self, act: Any) -> Any:
        return self._sandboxed.activate(act)

    def get_serialization_context(self, command_info: Any) -> None:
        return None

    def get_external_store_context(self, command_info: Any) -> Any:
        return None

    def get_info(self) -> Info:
        return self._sandboxed.get_info()

    def get_thread_id(self) -> int | None:
        return self._sandboxed.get_thread_id()
