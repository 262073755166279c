"""What people change by the page: the same steps as on the command line."""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from multidict import MultiMapping

from delegator.errors import ConfigurationError, DelegatorError
from delegator.maintenance import dead_letters
from delegator.operating import jobs, pausing, steering
from delegator.operating.jobs import ExplainedJob
from delegator.operating.states import UNFINISHED, State
from delegator.postgres.dead_letters import DeadLetter, Selection
from delegator.postgres.dead_letters import find as find_letters
from delegator.postgres.job_views import JobSelection
from delegator.ui.cells import url
from delegator.ui.filters import NAMES, Filter
from delegator.ui.metrics import UiMetrics
from delegator.ui.options import UiOptions
from delegator.ui.pages import NOTE_COOKIE, Pages
from delegator.ui.reads import Reads
from delegator.ui.sessions import COOKIE, Session, Sessions

MOST_CHANGED: Final = 10_000
"""How many jobs or dead letters one step changes."""
_OF_JOBS: Final[Mapping[str, tuple[State, ...]]] = {
    "retry": (State.BACKING_OFF, State.WAITING),
    "cancel": UNFINISHED,
}
"""Steps on jobs, and the states of those that they may change."""
_OF_LETTERS: Final = ("replay", "purge")
_VERBS: Final = {
    "retry": "Try again now",
    "cancel": "Cancel",
    "replay": "Replay",
    "purge": "Delete for good",
}

_log = logging.getLogger(__name__)
_Form = MultiMapping[Any]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a step is for."""

    jobs: Sequence[ExplainedJob] = ()
    letters: Sequence[DeadLetter] = ()

    @property
    def parts(self) -> list[str]:
        """Their numbers by type and by state or reason."""
        counts = Counter((one.job.job_type, one.explanation.state.value.replace("_", " ")) for one in self.jobs)
        counts += Counter((one.type, one.reason.replace("_", " ")) for one in self.letters)
        return [f"{count:,} {name}, {what}" for (name, what), count in sorted(counts.items())]

    @property
    def noun(self) -> str:
        """Their number, in words."""
        if self.letters:
            return f"{len(self.letters):,} dead letter{'' if len(self.letters) == 1 else 's'}"
        return f"{len(self.jobs):,} job{'' if len(self.jobs) == 1 else 's'}"

    @property
    def count(self) -> int:
        """Their number."""
        return len(self.jobs) + len(self.letters)


class Changes:
    """Answers to forms. What changes more than one thing, or ends one, is asked for first."""

    def __init__(self, reads: Reads, pages: Pages, sessions: Sessions, options: UiOptions, metrics: UiMetrics) -> None:
        """Prepare the answers.

        Args:
            reads: the database.
            pages: draw questions.
            sessions: carry notes to the next page.
            options: of the page.
            metrics: count changes.
        """
        self._reads = reads
        self._pages = pages
        self._sessions = sessions
        self._options = options
        self._metrics = metrics
        self._steps: Mapping[str, Callable[[_Form, Session], Awaitable[str]]] = {
            "retry": self._retry,
            "cancel": self._cancel,
            "replay": self._replay,
            "purge": self._purge,
            "pause": self._pause,
            "resume": self._resume,
        }

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.post("/confirm", self._confirm), web.post("/do", self._do)]

    async def _confirm(self, request: web.Request) -> web.Response:
        form = await request.post()
        action = str(form.get("action", ""))
        if action not in _VERBS:
            raise web.HTTPBadRequest(text="There is no such step.")
        chosen = await self._chosen(action, form)
        kept = [(name, str(form[name])) for name in NAMES if form.get(name)]
        ids = [("ids", str(one)) for one in form.getall("ids", [])]
        return self._pages.page(
            request,
            "confirm.html",
            action=action,
            verb=_VERBS[action],
            chosen=chosen,
            fields=[("action", action), *kept, *ids, ("back", _back(form))],
            back=_back(form),
            is_cut=chosen.count >= MOST_CHANGED,
        )

    async def _do(self, request: web.Request) -> web.Response:
        form = await request.post()
        action = str(form.get("action", ""))
        if action not in self._steps:
            raise web.HTTPBadRequest(text="There is no such step.")
        session = self._sessions.read(request.cookies.get(COOKIE))
        if session is None:
            raise web.HTTPForbidden(text="The login has ended.")
        try:
            note = await self._steps[action](form, session)
        except DelegatorError:
            self._reads.forget()
            raise
        self._metrics.changes.labels(action).inc()
        self._reads.forget()
        response = web.Response(status=303, headers={"Location": _back(form)})
        response.set_cookie(NOTE_COOKIE, self._sessions.note(note), max_age=60, httponly=True, samesite="Strict")
        return response

    async def _chosen(self, action: str, form: _Form) -> Chosen:
        """Return what a form is for: the given ids, or what its filter selects."""
        ids = [str(one) for one in form.getall("ids", [])]
        chosen = Filter.read(form, self._reads.settings)
        async with self._reads.connection("change") as connection:
            if action in _OF_LETTERS:
                if any(not (one.isascii() and one.isdigit()) or len(one) > 18 for one in ids):
                    raise ConfigurationError("that is not the id of a dead letter")
                selection = Selection(ids=[int(one) for one in ids]) if ids else chosen.letters(limit=MOST_CHANGED)
                return Chosen(letters=await find_letters(connection, selection))
            queues = self._reads.settings.queues if chosen.queue is None else (chosen.queue,)
            if ids:
                return Chosen(await jobs.find_on(connection, queues, JobSelection(job_ids=ids)))
            selected = chosen.jobs(default=_OF_JOBS[action], limit=MOST_CHANGED)
            found = await jobs.find_on(connection, queues, selected)
        if action == "retry":
            found = [one for one in found if one.explanation.reason in steering.RETRIED]
        return Chosen(found)

    async def _retry(self, form: _Form, session: Session) -> str:
        chosen = await self._chosen("retry", form)
        retried, left = await steering.retry(self._reads.settings, chosen.jobs)
        self._say("retry", session, len(retried))
        return f"{_number(len(retried), 'job')} due now." + _left(len(left), "do not back off")

    async def _cancel(self, form: _Form, session: Session) -> str:
        chosen = await self._chosen("cancel", form)
        result = await steering.cancel(
            self._reads.settings, chosen.jobs, self._options.converter, identity=_who(session)
        )
        self._say("cancel", session, len(result.ended) + len(result.asked))
        return f"{_number(len(result.ended), 'job')} canceled, {len(result.asked):,} told to stop." + _left(
            len(result.left), "ended meanwhile, or belong to Temporal's activity tasks"
        )

    async def _replay(self, form: _Form, session: Session) -> str:
        chosen = await self._chosen("replay", form)
        result = await dead_letters.replay(self._reads.settings, chosen.letters, signal=form.get("manner") == "signal")
        self._say("replay", session, len(result.replayed))
        return f"{_number(len(result.replayed), 'dead letter')} replayed." + _left(
            len(result.in_queue), "have a job with the same id in the queue: try again later"
        )

    async def _purge(self, form: _Form, session: Session) -> str:
        chosen = await self._chosen("purge", form)
        count = await dead_letters.purge(self._reads.settings, chosen.letters)
        self._say("purge", session, count)
        return f"{_number(count, 'dead letter')} deleted."

    async def _pause(self, form: _Form, session: Session) -> str:
        chosen = Filter.read(form, self._reads.settings)
        note = str(form.get("note", "")).strip()[:500] or None
        done = await pausing.pause(
            self._reads.settings,
            self._queues(chosen),
            chosen.job_type,
            paused_by=_who(session),
            note=note,
            wait=False,
        )
        self._say("pause", session, len(done))
        waiting, running = sum(one.jobs for one in done), sum(one.running for one in done)
        unaware = [name for one in done for name in one.unaware]
        more = f" Of an earlier release, and do not know: {', '.join(unaware)}." if unaware else ""
        return f"{_named(chosen)} is paused: {_number(waiting, 'job')} wait, {running:,} still run.{more}"

    async def _resume(self, form: _Form, session: Session) -> str:
        chosen = Filter.read(form, self._reads.settings)
        freed = await pausing.resume(self._reads.settings, self._queues(chosen), chosen.job_type)
        self._say("resume", session, len(freed))
        counts = [count for count in freed.values() if count is not None]
        return f"{_named(chosen)} goes on: {_number(sum(counts), 'job')} free." if counts else "It was not paused."

    def _queues(self, chosen: Filter) -> Sequence[str]:
        if chosen.queue is None and chosen.job_type is None:
            raise ConfigurationError("say which queue, or which type")
        return self._reads.settings.queues if chosen.queue is None else (chosen.queue,)

    def _say(self, action: str, session: Session, count: int) -> None:
        _log.info("ui_changed", extra={"action": action, "count": count, "who": _who(session)})


def _back(form: Mapping[str, Any]) -> str:
    """Return where to go afterwards: a path of this page, never another site."""
    back = str(form.get("back", ""))
    return back if is_own_path(back) else url("/queues" if form.get("action") in ("pause", "resume") else "/jobs")


def is_own_path(path: str) -> bool:
    """Return whether a browser takes a text for a path of this site."""
    return path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()


def _who(session: Session) -> str:
    return f"{session.name or 'page'}@{socket.gethostname()}"


def _named(chosen: Filter) -> str:
    where = "" if chosen.queue is None else f" in queue {chosen.queue}"
    return f"Queue {chosen.queue}" if chosen.job_type is None else f"Type {chosen.job_type}{where}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _left(count: int, why: str) -> str:
    return f" {_number(count, 'other')} left: they {why}." if count else ""
