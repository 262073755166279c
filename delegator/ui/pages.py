"""The pages that people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from delegator.errors import ConfigurationError
from delegator.operating import jobs, pausing
from delegator.operating.flow import flow
from delegator.operating.groups import Group, groups
from delegator.operating.paging import job_page, letter_page
from delegator.operating.reports import job_details
from delegator.operating.states import UNFINISHED, State
from delegator.operating.steering import RETRIED
from delegator.operating.timeline import timeline, timeline_of_dead_letter
from delegator.postgres import dead_letters, leases
from delegator.postgres.connections import Connection
from delegator.postgres.dead_letters import DeadLetter, Reason, Selection
from delegator.postgres.job_views import JobSelection, Place
from delegator.postgres.server_views import database_now
from delegator.ui import tables
from delegator.ui.cells import url
from delegator.ui.filters import Filter, job_place, letter_place, written
from delegator.ui.options import UiOptions
from delegator.ui.payloads import PayloadReader
from delegator.ui.reads import Reads
from delegator.ui.rendering import Renderer
from delegator.ui.sessions import COOKIE, Sessions

NOTE_COOKIE: Final = "delegator_note"
"""Carries a sentence from a change to the next page."""
PAGE_SIZE: Final = 50
"""How many jobs or dead letters a page shows."""
_REFRESH_SECONDS: Final = 5
_MOST_EXPLAINED: Final = 30
_MOST_FLOWS: Final = 8
_STATES: Final = (*UNFINISHED, State.DELIVERING, State.STORED)


class Pages:
    """Answers with pages. Each changes nothing."""

    def __init__(
        self, reads: Reads, renderer: Renderer, sessions: Sessions, options: UiOptions, payloads: PayloadReader | None
    ) -> None:
        """Prepare the pages.

        Args:
            reads: the database.
            renderer: draws them.
            sessions: read the notes.
            options: of the page.
            payloads: reads payloads; None: no payload is shown.
        """
        self._reads = reads
        self._renderer = renderer
        self._sessions = sessions
        self._options = options
        self._payloads = payloads

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/", self._overview),
            web.get("/problems", self._problems),
            web.get("/jobs", self._jobs),
            web.get("/job", self._job),
            web.get("/dead-letters", self._letters),
            web.get("/dead-letter", self._letter),
            web.get("/queues", self._queues),
            web.get("/workers", self._workers),
            web.get("/pause", self._pause),
            web.get("/drain", self._drain),
        ]

    def page(self, request: web.Request, template: str, **values: Any) -> web.Response:
        """Draw a page with what all have in common.

        Args:
            request: who asks, and for what.
            template: the page's file.
            values: what it names.
        """
        session = self._sessions.read(request.cookies.get(COOKIE))
        refresh = request.query.get("refresh") == str(_REFRESH_SECONDS) and request.method == "GET"
        others = {name: text for name, text in request.query.items() if name != "refresh"}
        view = {
            "here": request.path,
            "name": "" if session is None else session.name,
            "proof": None if session is None else session.proof,
            "may_change": session is not None and self._options.may_change,
            "note": self._sessions.read_note(request.cookies.get(NOTE_COOKIE)),
            "refreshes": refresh,
            "refresh_url": url(request.path, **others, refresh=None if refresh else _REFRESH_SECONDS),
            "refresh_seconds": _REFRESH_SECONDS,
        }
        response = self._renderer.page(template, view=view, **values)
        if refresh:
            response.headers["Refresh"] = str(_REFRESH_SECONDS)
        if view["note"] is not None:
            response.del_cookie(NOTE_COOKIE)
        return response

    async def _overview(self, request: web.Request) -> web.Response:
        overview = await self._reads.overview()
        rates = self._reads.meter.rates()
        rows = self._reads.meter.estimated_rows()
        shown = sorted(overview.queues, key=lambda queue: -queue.jobs.total())[:_MOST_FLOWS]
        flows = [
            (queue, flow(overview, queue, rates.get(queue.queue)), rows.get(queue.queue, 0))
            for queue in overview.queues
            if queue in shown
        ]
        return self.page(
            request,
            "overview.html",
            overview=overview,
            flows=flows,
            left_out=len(overview.queues) - len(flows),
            dead=tables.dead_counts_table(overview),
            types=tables.types_table(overview, steers=False, may_change=False),
        )

    async def _problems(self, request: web.Request) -> web.Response:
        overview = await self._reads.overview()
        found = groups(overview)
        async with self._reads.connection("problems") as connection:
            whys = [await self._why(connection, group) for group in found[:_MOST_EXPLAINED]]
        return self.page(
            request,
            "problems.html",
            overview=overview,
            table=tables.groups_table(overview, found[:_MOST_EXPLAINED], whys),
            more=max(0, len(found) - _MOST_EXPLAINED),
        )

    async def _why(self, connection: Connection, group: Group) -> str:
        selection = JobSelection(job_type=group.job_type, states=(group.state,), error=group.error)
        page = await job_page(connection, (group.queue,), selection, 1)
        return page.jobs[0].explanation.text if page.jobs else ""

    async def _jobs(self, request: web.Request) -> web.Response:
        chosen = Filter.read(request.query, self._reads.settings)
        if chosen.states == (State.DEAD,):
            raise web.HTTPSeeOther(url("/dead-letters", **{**chosen.values, "state": None}))
        after = job_place(request.query.get("after"))
        async with self._reads.connection("jobs") as connection:
            page = await job_page(connection, self._queues_of(chosen), chosen.jobs(after), PAGE_SIZE)
        may_change = self._may_change(request)
        return self.page(
            request,
            "jobs.html",
            table=tables.jobs_table(page.jobs, may_change=may_change),
            chosen=chosen.values,
            queues=self._reads.settings.queues,
            states=_STATES,
            first=None if after is None else url("/jobs", **chosen.values),
            following=page.following and url("/jobs", **chosen.values, after=written(page.following)),
        )

    async def _job(self, request: web.Request) -> web.Response:
        job_id = request.query.get("id", "").strip()
        try:
            found, letters = await jobs.one(self._reads.settings, job_id)
        except ConfigurationError as error:
            raise web.HTTPNotFound(text=str(error)) from None
        if found is None:
            raise web.HTTPSeeOther(url("/dead-letter", id=letters[0].id))
        payloads = None
        if self._payloads is not None:
            async with self._reads.connection("payloads") as connection:
                payloads = await self._payloads.of_job(connection, found.job)
        moments = timeline(found.job, found.explanation)
        return self.page(
            request,
            "job.html",
            job=found.job,
            explanation=found.explanation,
            may_retry=found.explanation.reason in RETRIED,
            details=job_details(found, moments),
            moments=moments,
            letters=letters,
            payloads=payloads,
        )

    async def _letters(self, request: web.Request) -> web.Response:
        chosen = Filter.read(request.query, self._reads.settings)
        before = letter_place(request.query.get("before"))
        async with self._reads.connection("dead letters") as connection:
            page = await letter_page(connection, chosen.letters(before), PAGE_SIZE)
            now = await database_now(connection)
        return self.page(
            request,
            "dead_letters.html",
            table=tables.letters_table(page.letters, now, may_change=self._may_change(request)),
            chosen=chosen.values,
            queues=self._reads.settings.queues,
            reasons=list(Reason),
            first=None if before is None else url("/dead-letters", **chosen.values),
            following=page.following and url("/dead-letters", **chosen.values, before=written(page.following)),
        )

    async def _letter(self, request: web.Request) -> web.Response:
        letter_id = request.query.get("id", "")
        if not (letter_id.isascii() and letter_id.isdigit() and int(letter_id[:20]) < 2**63):
            raise web.HTTPNotFound(text="That is not the id of a dead letter.")
        payloads = None
        async with self._reads.connection("dead letters") as connection:
            found = await dead_letters.find(connection, Selection(ids=(int(letter_id),)))
            if found and self._payloads is not None:
                payloads = await self._payloads.of_letter(connection, found[0])
        if not found:
            raise web.HTTPNotFound(text=f"There is no dead letter {letter_id}: it was replayed or purged.")
        letter: DeadLetter = found[0]
        return self.page(
            request,
            "dead_letter.html",
            letter=letter,
            moments=timeline_of_dead_letter(letter),
            payloads=payloads,
        )

    async def _queues(self, request: web.Request) -> web.Response:
        overview = await self._reads.overview()
        may_change = self._may_change(request)
        pauses = [pause for queue in overview.queues for pause in queue.facts.pauses]
        return self.page(
            request,
            "queues.html",
            overview=overview,
            queues=tables.queues_table(overview, may_change=may_change),
            types=tables.types_table(overview, steers=True, may_change=may_change),
            pauses=pauses,
            is_partial=any(queue.is_partial for queue in overview.queues),
        )

    async def _workers(self, request: web.Request) -> web.Response:
        async with self._reads.connection("workers") as connection:
            found = await leases.workers(connection, self._reads.settings.queues)
        return self.page(request, "workers.html", table=tables.workers_table(found))

    async def _pause(self, request: web.Request) -> web.Response:
        chosen = Filter.read(request.query, self._reads.settings)
        return self.page(request, "pause.html", queue=chosen.queue, job_type=chosen.job_type)

    async def _drain(self, request: web.Request) -> web.Response:
        chosen = Filter.read(request.query, self._reads.settings)
        since = job_place(request.query.get("since"))
        problem, left, before = None, 0, None if since is None else since.published_at
        try:
            before, left = await pausing.left(self._reads.settings, self._queues_of(chosen), chosen.job_type, before)
        except ConfigurationError as error:
            problem = str(error)
        if since is None and before is not None:
            # The address says from when on, so that the page can be loaded again.
            raise web.HTTPSeeOther(
                url("/drain", **chosen.values, since=written(Place(before, "")), refresh=_REFRESH_SECONDS)
            )
        return self.page(
            request,
            "drain.html",
            queue=chosen.queue,
            job_type=chosen.job_type,
            queues=self._reads.settings.queues,
            left=left,
            most=pausing.MOST_COUNTED,
            before=before,
            problem=problem,
        )

    def _queues_of(self, chosen: Filter) -> Sequence[str]:
        return self._reads.settings.queues if chosen.queue is None else (chosen.queue,)

    def _may_change(self, request: web.Request) -> bool:
        return self._options.may_change and self._sessions.read(request.cookies.get(COOKIE)) is not None
