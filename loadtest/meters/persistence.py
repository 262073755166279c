"""Temporal's calls to its own database, as its server counts them."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_METRIC: Final = "persistence_requests"
_SERIES: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*[{ ]").match
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)  # seconds
_LAG: Final = 1.2  # seconds; the server's metrics library (tally) publishes its counters once a second


async def persistence_requests(url: str) -> dict[str, int] | None:
    """Read the counters of a Temporal server, after waiting until they include all calls made before.

    Args:
        url: of its Prometheus metrics.

    Returns:
        Calls since it started, by operation; None when the metrics can't be read or do not have them.
    """
    await asyncio.sleep(_LAG)
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.get(url) as response:
            response.raise_for_status()
            return parse(await response.text())
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None


def parse(text: str) -> dict[str, int] | None:
    """Find the calls by operation in Prometheus metrics; None: there are none.

    Args:
        text: in Prometheus' text format.

    Raises:
        ValueError: it is in another format.
    """
    calls: Counter[str] = Counter()
    # A server has thousands of series, which take a third of a second to parse. Lines that are not series stay, so
    # that the parser refuses other formats.
    ours = "".join(line for line in text.splitlines(keepends=True) if _METRIC in line or not _SERIES(line))
    for family in text_string_to_metric_families(ours):
        for sample in family.samples:
            # The ending depends on the server's metrics library.
            if sample.name.removesuffix("_total") == _METRIC and "operation" in sample.labels:
                calls[sample.labels["operation"]] += int(sample.value)
    return dict(calls) or None
