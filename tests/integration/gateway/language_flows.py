"""A workflow whose jobs run in several languages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from delegator import delegate


@dataclass
class Parcel:
    """A result with a type of its own."""

    number: int
    words: list[str]


@workflow.defn
class Languages:
    """Calls workers in two languages, and tells their results and failures."""

    @workflow.run
    async def run(self) -> list[Any]:
        total = await delegate("conformance.add", 40, 2, result_type=int)
        parcels = await delegate("shell.echo", Parcel(total, ["é", "'$x'"]), result_type=list[Parcel])
        return [isinstance(parcels[0], Parcel), parcels[0], await _failure("conformance"), await _failure("shell")]


async def _failure(language: str) -> Any:
    said = {"type": "Declined", "message": f"no € in {language}", "details": [{"code": 51}], "non_retryable": True}
    try:
        return await delegate(f"{language}.fail", said, schedule_to_close_timeout=timedelta(minutes=1))
    except ActivityError as error:
        cause = error.cause
        assert isinstance(cause, ApplicationError)
        return [cause.type, cause.message, list(cause.details), cause.non_retryable]
