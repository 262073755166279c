"""What calls of one type with the same options have in common, made once in a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from temporalio import workflow
from temporalio.workflow import ActivityCancellationType

from delegator.contracts import DelegatedType, JobOptions, merged_priority
from delegator.errors import ConfigurationError
from delegator.wire.options import encode_options
from delegator.wire.requests import JobSpec
from delegator.workflow.calls import CallSpec


class CallSpecs:
    """The specs of one run's calls."""

    def __init__(self, info: workflow.Info) -> None:
        """Begin without a spec.

        Args:
            info: of the workflow.
        """
        self._info = info
        self._known: dict[tuple[Any, ...], CallSpec] = {}

    def of(self, declared: DelegatedType, options: JobOptions, cancellation_type: ActivityCancellationType) -> CallSpec:
        """Return what calls of this type with these options have in common. Equal arguments give the same object."""
        try:
            key = (
                declared.name,
                declared.queue,
                declared.options.key(),
                declared.return_type,
                options.key(),
                cancellation_type,
            )
            known = self._known.get(key)
        except (AttributeError, TypeError):  # a value of the wrong type can't be hashed
            options.validate(declared.name)
            raise
        if known is None:
            options.validate(declared.name)
            if not isinstance(cancellation_type, ActivityCancellationType):
                raise ConfigurationError(f"{declared.name}: cancellation_type must be an ActivityCancellationType")
            options = options.over(declared.options)
            options = replace(options, priority=merged_priority(options.priority, self._info.priority))
            job = JobSpec(declared.name, declared.queue, encode_options(options))
            known = self._known[key] = CallSpec(job, declared.return_type, cancellation_type)
        return known
