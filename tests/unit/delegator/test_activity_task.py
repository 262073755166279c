"""The activity that enqueues its task."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from delegator.contracts import DelegatedType
from delegator.enqueue.activity_worker import delegating_activity
from delegator.enqueue.enqueuer import Enqueuer


async def test_unknown_type() -> None:
    """A task of a type that is not imported fails as in Temporal's worker, may be retried, and names the types."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, activity_type="resize")
    types = {name: DelegatedType(name) for name in ("send", "charge")}
    activity = delegating_activity(types, cast("Enqueuer", None), DataConverter.default)
    with pytest.raises(
        ApplicationError, match=r"resize is not registered .* available activities: charge, send"
    ) as error:
        await environment.run(activity, [])
    assert error.value.type == "NotFoundError"
    assert not error.value.non_retryable
