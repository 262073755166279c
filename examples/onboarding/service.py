"""`python -m examples.onboarding.service`: the pages and the API. It decides nothing: it signals the workflows."""

from __future__ import annotations

import argparse
import asyncio
import csv
import hmac
import io
import json
import os
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp import BodyPartReader, web
from jinja2 import Environment, FileSystemLoader
from psycopg.rows import dict_row
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError
from yarl import URL

from examples.database import connection
from examples.onboarding.contracts import Decision, Terms, Verdict
from examples.onboarding.people import COOKIE, Person, log_in, log_out, person_of
from examples.onboarding.uploads import LARGEST, PIECE, TooLarge, store

TASK_QUEUE = "ONBOARDING_TASK_QUEUE"
TERMS = "ONBOARDING_TERMS"
_PAGE = 100
_CLIENT = web.AppKey("client", Client)
_PAGES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
_IMPORTS = """
SELECT i.*, (SELECT count(*) FROM onboarding.users u WHERE u.import_id = i.id AND status = 'imported') AS waiting
FROM onboarding.imports i WHERE state <> 'uploading' ORDER BY created_at DESC LIMIT 100
"""
_IMPORT = """
SELECT id, maker, state, reason, encoding, encoding_guessed, delimiter, unknown_columns
FROM onboarding.imports WHERE id = %s
"""
_QUERY_TIMEOUT = timedelta(seconds=2)
_LOOKS = 100
_LOOK_SECONDS = 0.05
routes = web.RouteTableDef()


@routes.get("/login")
async def show_login(request: web.Request) -> web.Response:
    """Ask who it is."""
    return _page(None)


@routes.post("/login")
async def post_login(request: web.Request) -> web.Response:
    """Begin a session."""
    form = await request.post()
    token = await log_in(str(form.get("login")), str(form.get("password")))
    if token is None:
        return _page(None, status=403, said="Login or password is wrong.")
    answer = web.Response(status=303, headers={"Location": "/"})
    answer.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
    return answer


@routes.post("/logout")
async def post_logout(request: web.Request) -> web.Response:
    """End the session."""
    await _person(request, form=await request.post())
    await log_out(request)
    raise web.HTTPSeeOther("/login")


@routes.get("/")
async def show_imports(request: web.Request) -> web.Response:
    """Show all imports."""
    person = await _person(request)
    return _page(person, imports=await _rows(_IMPORTS), said=request.query.get("said"))


@routes.post("/imports")
async def post_import(request: web.Request) -> web.Response:
    """Take a file, as the body or in a form, and start its import."""
    person = await _person(request, role="maker")
    is_form = request.content_type == "multipart/form-data"
    try:
        import_id, is_new = await store(
            _form_file(request, person) if is_form else request.content.iter_chunked(PIECE),
            person.login,
            request.headers.get("Idempotency-Key"),
            None if is_form else request.charset,
            request.query.get("delimiter"),
        )
    except TooLarge:
        raise web.HTTPRequestEntityTooLarge(LARGEST, LARGEST) from None
    except LookupError:
        raise web.HTTPUnsupportedMediaType(text="the charset is not known") from None
    if is_new:
        await request.app[_CLIENT].start_workflow(
            "ImportUsers", args=[import_id, _terms()], id=f"import-{import_id}", task_queue=os.environ[TASK_QUEUE]
        )
    if is_form:
        raise _see_other("/", f"Import {import_id} {'has begun' if is_new else 'is there already'}.")
    return web.json_response({"id": import_id}, status=201 if is_new else 200)


@routes.get("/imports/{id}")
async def get_import(request: web.Request) -> web.Response:
    """Return what is known about an import."""
    await _person(request)
    found = await _rows(_IMPORT, request.match_info["id"])
    if not found:
        raise web.HTTPNotFound
    handle = request.app[_CLIENT].get_workflow_handle(f"import-{request.match_info['id']}")
    try:
        counts = await handle.query("counts", rpc_timeout=_QUERY_TIMEOUT)
    except RPCError:
        counts = None  # no worker answers; the table does
    return web.json_response({**found[0], "counts": counts})


@routes.get("/imports/{id}/problems.csv")
async def get_problems(request: web.Request) -> web.StreamResponse:
    """Return the rows that are bad or duplicates, and why."""
    await _person(request)
    answer = web.StreamResponse(headers={"Content-Type": "text/csv; charset=utf-8"})
    await answer.prepare(request)
    select = """
        SELECT line, coalesce(problem, 'duplicate') AS problem, raw FROM onboarding.import_rows
        WHERE import_id = %s AND (problem IS NOT NULL OR is_duplicate) ORDER BY line
    """
    async with connection() as opened, opened.transaction(), opened.cursor(name="problems") as cursor:
        await answer.write(_csv_line("line", "problem", "raw"))
        await cursor.execute(select, (request.match_info["id"],))
        async for row in cursor:
            await answer.write(_csv_line(*row))
    return answer


@routes.post("/imports/{id}/answer")
async def post_answer(request: web.Request) -> web.Response:
    """Take the good rows of a bad file, or none: only its maker may."""
    form = await request.post()
    person = await _person(request, role="maker", form=form)
    await _require(request.match_info["id"], "maker = %s", person.login)
    handle = request.app[_CLIENT].get_workflow_handle(f"import-{request.match_info['id']}")
    await handle.signal("answer", "accept" if form.get("answer") == "accept" else "discard")
    raise web.HTTPSeeOther("/")


@routes.get("/imports/{id}/users")
async def show_users(request: web.Request) -> web.Response:
    """Show the users of an import, those that wait first."""
    person = await _person(request)
    import_id, page = request.match_info["id"], max(1, int(request.query.get("page", "1")))
    found = await _rows("SELECT * FROM onboarding.imports WHERE id = %s", import_id)
    if not found:
        raise web.HTTPNotFound
    select = "SELECT * FROM onboarding.users WHERE import_id = %s ORDER BY status <> 'imported', id LIMIT %s OFFSET %s"
    users = await _rows(select, import_id, _PAGE + 1, (page - 1) * _PAGE)
    count = "SELECT count(*) AS n FROM onboarding.users WHERE import_id = %s AND status = 'imported'"
    return _page(
        person,
        users=users[:_PAGE],
        more=len(users) > _PAGE,
        page=page,
        import_id=import_id,
        waiting=(await _rows(count, import_id))[0]["n"],
        may_decide=person.role == "checker" and found[0]["maker"] != person.login,
        decision=uuid.uuid4().hex,
        said=request.query.get("said"),
    )


@routes.post("/imports/{id}/decisions")
async def post_decision(request: web.Request) -> web.Response:
    """Take a checker's decision from the page, and tell what became of it."""
    form = await request.post()
    person = await _person(request, role="checker", form=form)
    import_id = request.match_info["id"]
    await _require(import_id, "maker <> %s", person.login)
    ids = [int(str(value)) for value in form.getall("id", [])]
    verdict, reason = _verdict(form.get("verdict")), str(form.get("reason", ""))
    decision = Decision(str(form["decision"]), import_id, person.login, verdict, ids, "everyone" in form, reason)
    raise _see_other(f"/imports/{import_id}/users", await _decide(request, decision))


@routes.get("/users")
async def get_users(request: web.Request) -> web.Response:
    """Return users as JSON; `?approved=false`: those that nobody has decided about."""
    await _person(request)
    status = {"true": "approved", "false": "imported"}.get(request.query.get("approved", ""))
    select = "SELECT * FROM onboarding.users WHERE status = coalesce(%s, status) ORDER BY id LIMIT 10000"
    return web.json_response(await _rows(select, status), dumps=lambda found: json.dumps(found, default=str))


@routes.post("/users")
async def post_users(request: web.Request) -> web.Response:
    """Approve users whose ids are in a CSV file; `?verdict=rejected` rejects them."""
    person = await _person(request, role="checker")
    try:
        ids = [int(row[0]) for row in csv.reader(io.StringIO(await request.text())) if row and row[0] != "id"]
    except ValueError:
        raise web.HTTPBadRequest(text="the first column must hold ids") from None
    found = await _rows("SELECT id, import_id FROM onboarding.users WHERE id = ANY (%s)", ids)
    by_import: dict[str, list[int]] = {}
    for row in found:
        by_import.setdefault(row["import_id"], []).append(row["id"])
    for import_id in by_import:
        await _require(import_id, "maker <> %s", person.login)
    verdict = _verdict(request.query.get("verdict"))
    decisions = [Decision(uuid.uuid4().hex, one, person.login, verdict, some) for one, some in by_import.items()]
    said = [await _decide(request, decision) for decision in decisions]
    unknown = sorted(set(ids) - {row["id"] for row in found})
    return web.json_response({"decided": said, "unknown": unknown}, status=202)


async def _decide(request: web.Request, decision: Decision) -> str:
    """Give a decision to the workflow, which may have to be started first, and say what became of it."""
    state = await _rows("SELECT state FROM onboarding.imports WHERE id = %s", decision.import_id)
    imported = state[0]["state"] in ("done", "discarded", "refused")
    await request.app[_CLIENT].start_workflow(
        "Approval",
        args=[decision.import_id, _terms(), imported, None],
        id=f"approval-{decision.import_id}",
        task_queue=os.environ[TASK_QUEUE],
        start_signal="decide",
        start_signal_args=[decision],
    )
    select = "SELECT applied, decided_before, unknown FROM onboarding.decisions WHERE id = %s"
    for _ in range(_LOOKS):
        if found := await _rows(select, decision.id):
            done, before, unknown = (len(found[0][name]) for name in ("applied", "decided_before", "unknown"))
            return f"{done} {decision.verdict}, {before} decided before, {unknown} unknown."
        await asyncio.sleep(_LOOK_SECONDS)
    return "The decision is kept, and counts as soon as the workflow gets to it."


async def _person(request: web.Request, role: str | None = None, form: Any = None) -> Person:
    """Return who it is. Refuse others, and forms that another site has sent."""
    person = await person_of(request)
    if person is None:
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther("/login")
        raise web.HTTPUnauthorized
    if role is not None and person.role != role:
        raise web.HTTPForbidden(text=f"only a {role} may do this")
    if form is not None:
        _check_token(person, str(form.get("csrf", "")))
    return person


def _check_token(person: Person, token: str) -> None:
    if person.csrf is not None and not hmac.compare_digest(person.csrf.encode(), token.encode()):
        raise web.HTTPForbidden(text="the form does not belong to this session")


async def _form_file(request: web.Request, person: Person) -> AsyncIterator[bytes]:
    """Yield the pieces of a form's file. The token comes before it, so a form of another site stores nothing."""
    token = ""
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        if part.name == "csrf":
            token = await part.text()
        elif part.name == "file":
            _check_token(person, token)
            while piece := await part.read_chunk(PIECE):
                yield piece
            return
    raise web.HTTPBadRequest(text="the form has no file")


async def _require(import_id: str, condition: str, login: str) -> None:
    query = f"SELECT FROM onboarding.imports WHERE id = %s AND {condition}"
    if not await _rows(query, import_id, login):
        raise web.HTTPForbidden(text="who imported users may not approve them, and nobody else may answer for them")


async def _rows(query: str, *parameters: object) -> list[dict[str, Any]]:
    async with connection() as opened, opened.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(query.encode(), parameters)).fetchall()


def _page(person: Person | None, status: int = 200, **values: Any) -> web.Response:
    html = _PAGES.get_template("page.html").render(person=person, **values)
    policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"}
    return web.Response(text=html, content_type="text/html", status=status, headers=policy)


def _see_other(path: str, said: str) -> web.HTTPSeeOther:
    return web.HTTPSeeOther(URL(path).with_query(said=said))


def _verdict(text: object) -> Verdict:
    return "rejected" if text == "rejected" else "approved"


def _csv_line(*values: object) -> bytes:
    """Return a line. A spreadsheet takes a text that begins with = + - @ for a formula, unless a quote is before it."""
    texts = [f"'{value}" if str(value).startswith(("=", "+", "-", "@", "\t", "\r")) else str(value) for value in values]
    csv.writer(line := io.StringIO()).writerow(texts)
    return line.getvalue().encode()


def _terms() -> Terms:
    return Terms(**json.loads(os.environ.get(TERMS, "{}")))


async def application() -> web.Application:
    """Return the service; it needs Temporal and the tables."""
    app = web.Application(client_max_size=1024 * 1024)
    app[_CLIENT] = await Client.connect(**ClientConfig.load_client_connect_config())
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.onboarding.service", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    web.run_app(application(), host="127.0.0.1", port=parser.parse_args().port, print=None)
