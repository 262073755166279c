"""What is in the queues, as `delegator serve` measures it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import aiohttp
from prometheus_client.parser import text_string_to_metric_families


async def measured_queues(
    session: aiohttp.ClientSession, serve_url: str | None, names: Iterable[str]
) -> dict[str, Counter[str]] | None:
    """Return what `delegator serve` measures of queues.

    Args:
        session: for the request.
        serve_url: where `delegator serve` answers; None: nobody knows.
        names: the queues.

    Returns:
        By queue: the number of unfinished `jobs`, that of rows by their state, the age of the `oldest` job in
        seconds, and the number of `dead` letters.
        None: it does not answer, or its address is not known.
    """
    if serve_url is None:
        return None
    try:
        async with session.get(f"{serve_url}/metrics") as response:
            families = text_string_to_metric_families(await response.text())
    except (aiohttp.ClientError, TimeoutError):
        return None
    found = {name: Counter[str]() for name in names}
    for sample in (sample for family in families for sample in family.samples):
        queue = found.get(sample.labels.get("queue", ""), Counter())
        if sample.name == "delegator_queue_jobs":
            queue[sample.labels["state"]] = int(sample.value)
            # A stored outcome is no job: a workflow task that runs again may read it, for some minutes.
            queue["jobs"] += int(sample.value) if sample.labels["state"] != "stored" else 0
        elif sample.name == "delegator_queue_oldest_job_age_seconds":
            queue["oldest"] = int(sample.value)
        elif sample.name == "delegator_queue_dead_letters":
            queue["dead"] += int(sample.value)
    return found
