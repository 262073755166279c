"""`python -m examples.onboarding.service`: the pages and the API. It decides nothing: it signals the workflows."""

from __future__ import annotations

import asyncio
import codecs
import csv
import io
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError
from yarl import URL

from delegator import connect
from examples.database import connection, fetch_all, fetch_dicts
from examples.logins import SECRET, Person, add_login, person_of
from examples.onboarding.contracts import ENDS, FOLDER, Decision, Terms, Verdict
from examples.onboarding.uploads import store
from examples.pages import PIECE, Pages
from examples.service import http_server, run_service, setting

TASK_QUEUE: Final = "ONBOARDING_TASK_QUEUE"
_CLIENT: Final = web.AppKey("client", Client)
_PAGES: Final = web.AppKey("pages", Pages)
_USERS_ON_A_PAGE: Final = 100
_IMPORTS = """
SELECT id, maker, state, reason, encoding, encoding_guessed, delimiter, unknown_columns,
       (SELECT count(*) FROM onboarding.users u WHERE u.import_id = i.id AND status = 'imported') AS waiting
FROM onboarding.imports i WHERE id = coalesce(%s, id) ORDER BY created_at DESC LIMIT 100
"""
_USERS = "SELECT * FROM onboarding.users WHERE import_id = %s ORDER BY status <> 'imported', id LIMIT %s OFFSET %s"
# A spreadsheet takes a text that begins with = + - @ for a formula, unless a quote is before it.
_PROBLEMS = """
COPY (
    SELECT line, coalesce(problem, 'duplicate') AS problem, regexp_replace(raw, '^(?=[-=+@\\t\\r])', '''') AS raw
    FROM onboarding.import_rows WHERE import_id = %s AND (problem IS NOT NULL OR is_duplicate) ORDER BY line
) TO STDOUT (FORMAT csv, HEADER)
"""
routes = web.RouteTableDef()


@routes.get("/")
async def show_imports(request: web.Request) -> web.Response:
    """Show all imports."""
    return _page(request, await person_of(request), imports=await fetch_dicts(_IMPORTS, None))


@routes.post("/imports")
async def post_import(request: web.Request) -> web.Response:
    """Take a file, as the body or in a form, and start its import."""
    person = await person_of(request, "maker")
    is_form = request.content_type == "multipart/form-data"
    pieces = request.app[_PAGES].file(request) if is_form else request.content.iter_chunked(PIECE)
    charset = None if is_form else request.charset
    try:
        codecs.lookup(charset or "utf-8")
    except LookupError:
        raise web.HTTPUnsupportedMediaType(text="the charset is not known") from None
    key, delimiter = request.headers.get("Idempotency-Key"), request.query.get("delimiter")
    import_id, is_new = await store(pieces, Path(setting(FOLDER)), person.login, key, charset, delimiter)
    with suppress(WorkflowAlreadyStartedError):  # a service that died here has stored the file, and started nothing
        await request.app[_CLIENT].start_workflow(
            "ImportUsers",
            args=[import_id, Terms()],
            id=f"import-{import_id}",
            task_queue=setting(TASK_QUEUE),
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
    if is_form:
        raise _see_other("/", f"Import {import_id} {'has begun' if is_new else 'is there already'}.")
    return web.json_response({"id": import_id}, status=201 if is_new else 200)


@routes.get("/imports/{id}/problems.csv")
async def get_problems(request: web.Request) -> web.StreamResponse:
    """Return the rows that are bad or duplicates, and why."""
    await person_of(request)
    answer = web.StreamResponse(headers={"Content-Type": "text/csv; charset=utf-8"})
    await answer.prepare(request)
    async with connection() as opened, opened.cursor().copy(_PROBLEMS, (request.match_info["id"],)) as rows:
        async for some in rows:
            await answer.write(some)
    return answer


@routes.post("/imports/{id}/answer")
async def post_answer(request: web.Request) -> web.Response:
    """Take the good rows of a bad file, or none: only its maker may."""
    person, form = await person_of(request, "maker"), await request.app[_PAGES].form(request)
    found = await _import(request.match_info["id"])
    if found["maker"] != person.login:
        raise web.HTTPForbidden(text="only who imported the file may answer for it")
    handle = request.app[_CLIENT].get_workflow_handle(f"import-{found['id']}")
    await handle.signal("answer", "accept" if form.get("answer") == "accept" else "discard")
    raise web.HTTPSeeOther("/")


@routes.get("/imports/{id}/users")
async def show_users(request: web.Request) -> web.Response:
    """Show what is known about an import, and its users, those that wait first."""
    person, found = await person_of(request), await _import(request.match_info["id"])
    page = max(1, int(request.query.get("page", "1")))
    handle = request.app[_CLIENT].get_workflow_handle(f"import-{found['id']}")
    try:
        report = await handle.query("report", rpc_timeout=timedelta(seconds=2))
    except RPCError:
        report = None  # no worker answers; the tables do
    users = await fetch_dicts(_USERS, found["id"], _USERS_ON_A_PAGE + 1, (page - 1) * _USERS_ON_A_PAGE)
    return _page(
        request,
        person,
        found=found,
        report=report,
        users=users[:_USERS_ON_A_PAGE],
        more=len(users) > _USERS_ON_A_PAGE,
        page=page,
        may_decide=person.role == "checker" and found["maker"] != person.login,
        decision=uuid.uuid4().hex,
    )


@routes.post("/imports/{id}/decisions")
async def post_decision(request: web.Request) -> web.Response:
    """Take a checker's decision from the page, and tell what became of it."""
    person, form = await person_of(request, "checker"), await request.app[_PAGES].form(request)
    found = await _decidable(person, request.match_info["id"])
    ids, everyone = [int(str(value)) for value in form.getall("id", [])], "everyone" in form
    verdict, reason = _verdict(form.get("verdict")), str(form.get("reason", ""))
    decision = Decision(str(form["decision"]), found["id"], person.login, verdict, ids, everyone, reason)
    raise _see_other(f"/imports/{found['id']}/users", await _decide(request, found, decision))


@routes.get("/users")
async def get_users(request: web.Request) -> web.Response:
    """Return users as JSON; `?approved=false`: those that nobody has decided about."""
    await person_of(request)
    status = {"true": "approved", "false": "imported"}.get(request.query.get("approved", ""))
    select = "SELECT * FROM onboarding.users WHERE status = coalesce(%s, status) ORDER BY id LIMIT 10000"
    return web.json_response(await fetch_dicts(select, status), dumps=lambda found: json.dumps(found, default=str))


@routes.post("/users")
async def post_users(request: web.Request) -> web.Response:
    """Approve users whose ids are in a CSV file; `?verdict=rejected` rejects them."""
    person = await person_of(request, "checker")
    try:
        ids = [int(row[0]) for row in csv.reader(io.StringIO(await request.text())) if row and row[0] != "id"]
    except ValueError:
        raise web.HTTPBadRequest(text="the first column must hold ids") from None
    select = "SELECT import_id, array_agg(id) FROM onboarding.users WHERE id = ANY (%s) GROUP BY 1"
    known: dict[str, list[int]] = dict(await fetch_all(select, ids))
    verdict, said = _verdict(request.query.get("verdict")), []
    for found in [await _decidable(person, import_id) for import_id in known]:
        decision = Decision(uuid.uuid4().hex, found["id"], person.login, verdict, known[found["id"]])
        said.append(await _decide(request, found, decision))
    return web.json_response({"decided": said, "unknown": sorted(set(ids).difference(*known.values()))}, status=202)


async def _decide(request: web.Request, found: dict[str, Any], decision: Decision) -> str:
    """Give a decision to the workflow, which may have to be started first, and say what became of it."""
    await request.app[_CLIENT].start_workflow(
        "Approval",
        args=[decision.import_id, Terms(), found["state"] in ENDS, None],
        id=f"approval-{decision.import_id}",
        task_queue=setting(TASK_QUEUE),
        start_signal="decide",
        start_signal_args=[decision],
    )
    select = "SELECT applied, decided_before, unknown FROM onboarding.decisions WHERE id = %s"
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            while not (outcome := await fetch_all(select, decision.id)):  # noqa: ASYNC110  # a table tells nobody
                await asyncio.sleep(0.05)
            applied, before, unknown = map(len, outcome[0])
            return f"{applied} {decision.verdict}, {before} decided before, {unknown} unknown."
    return "The decision is kept, and counts as soon as the workflow gets to it."


async def _import(import_id: str) -> dict[str, Any]:
    if not (found := await fetch_dicts(_IMPORTS, import_id)):
        raise web.HTTPNotFound
    return found[0]


async def _decidable(person: Person, import_id: str) -> dict[str, Any]:
    """Return an import, unless the person is its maker."""
    found = await _import(import_id)
    if found["maker"] == person.login:
        raise web.HTTPForbidden(text="who imported users may not approve them")
    return found


def _page(request: web.Request, person: Person, **values: Any) -> web.Response:
    return request.app[_PAGES].page(request, "page.html", person=person, said=request.query.get("said"), **values)


def _see_other(path: str, said: str) -> web.HTTPSeeOther:
    return web.HTTPSeeOther(URL(path).with_query(said=said))


def _verdict(text: object) -> Verdict:
    return "rejected" if text == "rejected" else "approved"


@asynccontextmanager
async def service(port: int) -> AsyncIterator[None]:
    """Run the pages and the API."""
    application = web.Application()
    application[_CLIENT] = await connect()
    application[_PAGES] = Pages(Path(__file__).parent, setting(SECRET), has_passwords=True)
    add_login(application, application[_PAGES])
    application.add_routes(routes)
    async with http_server(application, port):
        yield


if __name__ == "__main__":
    run_service(service)
