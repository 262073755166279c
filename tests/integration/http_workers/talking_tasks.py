"""A handler that logs."""

from __future__ import annotations

import logging

from temporalio.exceptions import ApplicationError

from delegator import current_job, delegated


@delegated
async def talk() -> None:
    try:
        raise ValueError("an empty box")
    except ValueError:
        logging.getLogger(__name__).exception("packing failed")
    current_job().logger.info("counted", extra={"boxes": 3})
    raise ApplicationError("no boxes left", type="OutOfBoxes", non_retryable=True)
