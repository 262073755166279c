"""The arms: different ways to do the same work."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from delegator.errors import ConfigurationError
from loadtest.arms.base import Arm
from loadtest.arms.standalone_arm import StandaloneArm
from loadtest.arms.workflow_arm import WorkflowArm

ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        arm.name: arm
        for arm in (
            WorkflowArm(name="floor", workflow_type="loadtest_floor", runs_jobs=False),
            WorkflowArm(name="local", workflow_type="loadtest_local", runs_jobs=False),
            WorkflowArm(name="classic", workflow_type="loadtest_activities"),
            StandaloneArm(name="standalone"),
            WorkflowArm(name="delegated", workflow_type="loadtest_delegated", delegates=True, plugin=True),
            WorkflowArm(
                name="drop-in", workflow_type="loadtest_activities", delegates=True, plugin=True, intercepts=True
            ),
            WorkflowArm(name="drop-in-worker", workflow_type="loadtest_activities", delegates=True),
            WorkflowArm(name="gathered", workflow_type="loadtest_gathered", delegates=True, plugin=True),
            WorkflowArm(
                name="signalled", workflow_type="loadtest_delegated", delegates=True, plugin=True, waits_inline=False
            ),
        )
    }
)


def arm_named(name: str) -> Arm:
    """Return an arm.

    Raises:
        ConfigurationError: no arm has that name.
    """
    try:
        return ARMS[name]
    except KeyError:
        raise ConfigurationError(f"--arm: {name!r} is none of {', '.join(ARMS)}") from None
