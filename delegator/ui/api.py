"""The JSON API: what the pages show, with the keys of the command line's `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from aiohttp import web

from delegator.errors import ConfigurationError
from delegator.maintenance.dead_letter_report import summary
from delegator.operating import jobs
from delegator.operating.flow import flow
from delegator.operating.groups import groups
from delegator.operating.paging import job_page, letter_page
from delegator.operating.reports import job_details, job_summary, overview_report, worker_report
from delegator.operating.timeline import timeline
from delegator.postgres import leases
from delegator.ui.filters import Filter, job_place, letter_place, written
from delegator.ui.reads import Reads

MOST: Final = 500
"""How many jobs or dead letters one answer holds."""


class Api:
    """Answers with JSON. It changes nothing: that is what the command line is for."""

    def __init__(self, reads: Reads) -> None:
        """Prepare the answers.

        Args:
            reads: the database.
        """
        self._reads = reads

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/api/overview", self._overview),
            web.get("/api/problems", self._problems),
            web.get("/api/jobs", self._jobs),
            web.get("/api/job", self._job),
            web.get("/api/dead-letters", self._letters),
            web.get("/api/workers", self._workers),
        ]

    async def _overview(self, request: web.Request) -> web.Response:
        overview = await self._reads.overview()
        rates = self._reads.meter.rates()
        report = overview_report(overview)
        for queue, shown in zip(overview.queues, report["queues"], strict=True):
            shown["flow"] = [_plain(asdict(step)) for step in flow(overview, queue, rates.get(queue.queue))]
        return _json(report)

    async def _problems(self, request: web.Request) -> web.Response:
        return _json([_plain(asdict(group)) for group in groups(await self._reads.overview())])

    async def _jobs(self, request: web.Request) -> web.Response:
        chosen = Filter.read(request.query, self._reads.settings)
        queues = self._reads.settings.queues if chosen.queue is None else (chosen.queue,)
        async with self._reads.connection("jobs") as connection:
            page = await job_page(
                connection, queues, chosen.jobs(job_place(request.query.get("after"))), _limit(request.query)
            )
        return _json({"jobs": [job_summary(one) for one in page.jobs], "after": written(page.following)})

    async def _job(self, request: web.Request) -> web.Response:
        try:
            found, letters = await jobs.one(self._reads.settings, request.query.get("id", ""))
        except ConfigurationError as error:
            raise web.HTTPNotFound(text=str(error)) from None
        details = None if found is None else job_details(found, timeline(found.job, found.explanation))
        return _json({"job": details, "dead_letters": [summary(letter) for letter in letters]})

    async def _letters(self, request: web.Request) -> web.Response:
        chosen = Filter.read(request.query, self._reads.settings)
        before = letter_place(request.query.get("before"))
        async with self._reads.connection("dead letters") as connection:
            page = await letter_page(connection, chosen.letters(before), _limit(request.query))
        return _json({"dead_letters": [summary(one) for one in page.letters], "before": written(page.following)})

    async def _workers(self, request: web.Request) -> web.Response:
        async with self._reads.connection("workers") as connection:
            found = await leases.workers(connection, self._reads.settings.queues)
        return _json([worker_report(worker) for worker in found])


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", "100")
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= MOST):
        raise ConfigurationError(f"limit {text}: not a number from 1 to {MOST}")
    return int(text)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{name}_seconds" if isinstance(value, timedelta) else name: _value(value) for name, value in values.items()
    }


def _value(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if isinstance(value, datetime) else value


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
