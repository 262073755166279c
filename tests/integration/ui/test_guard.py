"""Who may see and change what, and what no text of a job can do to the page."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import DataConverter

from delegator.cli import ui
from delegator.codec_server.service import CodecServerOptions, running_codec_server
from delegator.config import Settings
from delegator.encryption import EncryptionCodec, EncryptionKey, EncryptionKeys
from delegator.errors import ConfigurationError
from delegator.runtime.server_tls import TlsFiles
from delegator.runtime.tokens import Tokens
from delegator.ui.sessions import Attempts, Sessions
from tests.integration.operating.commands import delegator
from tests.integration.ui.conftest import TOKEN, Visitor, options, visited
from tests.support import Database, Databases
from tests.support.certificates import Authority

EVIL = "<script>alert(1)</script>\"'&{{7*7}}"
SECRET = "correct-horse-battery-staple"
PATHS = ("/", "/problems", "/jobs", "/dead-letters", "/queues", "/workers", "/pause?queue=default", "/api/overview")


@pytest.fixture(scope="module")
async def database(databases: Databases) -> AsyncIterator[Database]:
    async with databases.fresh() as fresh:
        async with await psycopg.AsyncConnection.connect(fresh.url, autocommit=True) as connection:
            await connection.execute(
                b"INSERT INTO custom_task_queue (job_id, job_type, workflow_id, namespace, run_id)"
                b" VALUES (%s, %s, %s, 'ns', gen_random_uuid())",
                (EVIL, EVIL, EVIL),
            )
            await connection.execute(
                b"INSERT INTO custom_task_dead_letter (queue, reason, error, job_id, job_type, attempt, enqueued_at)"
                b" VALUES ('default', 'unknown_type', %s, %s, %s, 1, now())",
                (EVIL, EVIL + "-", EVIL),
            )
            await connection.execute(
                b"INSERT INTO custom_task_pause (pause_id, queue, job_type, paused_by, note)"
                b" VALUES (%s, 'default', %s, %s, %s)",
                (f"default/{EVIL}", EVIL, EVIL, EVIL),
            )
        yield fresh


@pytest.fixture
async def visitor(database: Database) -> AsyncIterator[Visitor]:
    async with visited(database.settings) as made:
        yield made


async def test_token(visitor: Visitor) -> None:
    """Without the token nothing is shown: pages lead to the login, the API answers 401; a bearer token reads."""
    for path in PATHS:
        async with visitor.session.get(visitor.url + path, allow_redirects=False) as response:
            if path.startswith("/api"):
                assert (response.status, "token" in await response.text()) == (401, True)
            else:
                assert (response.status, response.headers["Location"].split("?")[0]) == (303, "/login")
    for path in ("/livez", "/metrics", "/login"):
        assert (await visitor.get(path))[0] == 200
    assert await visitor.log_in(token="wrong") == 403
    status, text = await visitor.get("/api/jobs", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (status, json.loads(text)["jobs"][0]["job_id"]) == (200, EVIL)
    assert (await visitor.get("/api/jobs", headers={"Authorization": "Bearer wrong"}))[0] == 401
    assert await visitor.log_in() == 200
    assert [(await visitor.get(path))[0] for path in PATHS] == [200] * len(PATHS)
    assert (await visitor.post("/logout", proof=await visitor.proof()))[0] == 200
    assert "Log in" in (await visitor.get("/"))[1]


async def test_forms(visitor: Visitor) -> None:
    """A form without this login's proof, or of another site, changes nothing."""
    await visitor.log_in()
    proof = await visitor.proof()
    step = {"action": "purge", "ids": "1"}
    assert (await visitor.post("/do", **step))[0] == 403
    assert (await visitor.post("/do", **step, proof="0" * 64))[0] == 403
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        sent = visitor.session.post(f"{visitor.url}/do", data={**step, "proof": proof}, headers=headers)
        async with sent as response:
            assert response.status == 403
    assert len(await letters(visitor)) == 1
    status, text = await visitor.post("/do", **step, proof=proof, action_="x", back="//evil.example")
    assert (status, "1 dead letter deleted." in text) == (200, True)
    assert await letters(visitor) == []
    _, metrics = await visitor.get("/metrics")
    assert 'delegator_ui_requests_refused_total{reason="form"} 5.0' in metrics
    assert 'delegator_ui_changes_total{action="purge"} 1.0' in metrics


async def letters(visitor: Visitor) -> list[Any]:
    found: list[Any] = (await visitor.json("/api/dead-letters"))["dead_letters"]
    return found


async def test_read_only(database: Database) -> None:
    """Without a token everybody of this machine reads and nobody changes anything; so it is with --read-only."""
    async with visited(database.settings, tokens=Tokens()) as visitor:
        assert [(await visitor.get(path))[0] for path in PATHS] == [200] * len(PATHS)
        assert "<button" not in (await visitor.get("/queues"))[1]
        assert (await visitor.post("/do", action="resume", queue="default"))[0] == 403
        assert (await visitor.get("/", headers={"Host": "evil.example"}))[0] == 421
    async with visited(database.settings, read_only=True) as visitor:
        await visitor.log_in()
        assert "Pause …" not in (await visitor.get("/queues"))[1]
        assert (await visitor.post("/do", action="resume", queue="default", proof=await visitor.proof()))[0] == 403
    with pytest.raises(ConfigurationError, match="--host 0.0.0.0: the page would answer every machine"):
        options(tokens=Tokens(), host="0.0.0.0")


async def test_escaping(visitor: Visitor) -> None:
    """No text of a job becomes markup, and no page lets a script run."""
    await visitor.log_in(name=EVIL)
    job, workflow = {"id": EVIL}, {"workflow_id": EVIL, "type": EVIL}
    for path, parameters in [*((path, {}) for path in PATHS[:-1]), ("/job", job), ("/jobs", workflow)]:
        async with visitor.session.get(visitor.url + path, params=parameters) as response:
            text = await response.text()
            assert response.status == 200, text
            assert "<script" not in text
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["X-Frame-Options"] == "DENY"


async def test_bad_questions(visitor: Visitor) -> None:
    """A wrong filter, a cut link and an unknown id get an answer in words, and no trace of the program."""
    await visitor.log_in()
    for path, status, words in (
        ("/jobs?queue=none", 400, "not a declared queue"),
        ("/jobs?state=happy", 400, "none of waiting"),
        ("/jobs?until=soon", 400, "neither a time"),
        ("/jobs?after=x", 400, "begin with the first page"),
        ("/dead-letters?before=WyJ4Il0=", 400, "begin with the first page"),
        ("/jobs?type=%00", 400, "no name has"),
        ("/job?id=none", 404, "no job none in queues default"),
        ("/dead-letter?id=99", 404, "replayed or purged"),
        ("/dead-letter?id=x", 404, "not the id"),
        ("/api/jobs?limit=501", 400, "from 1 to 500"),
        ("/nothing", 404, ""),
    ):
        found, text = await visitor.get(path)
        assert (found, words in text, "Traceback" in text) == (status, True, False), (path, text)


async def test_payloads(databases: Databases) -> None:
    """Payloads are shown only if a codec server is named, and then decoded by it."""
    codec = EncryptionCodec(EncryptionKeys([EncryptionKey.new("now")]))
    plain = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(SECRET).encode())
    encoded = Payloads(payloads=await codec.encode([plain])).SerializeToString()
    served = CodecServerOptions(codec=codec, tokens=Tokens(["a-codec-token"]), port=0)
    async with databases.fresh() as database, running_codec_server(served) as codec_url:
        async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
            insert = b"INSERT INTO custom_task_queue (job_id, job_type, input) VALUES ('a', 't', %s)"
            await connection.execute(insert, (encoded,))
        async with visited(database.settings) as visitor:
            await visitor.log_in()
            status, text = await visitor.get("/job?id=a")
            assert (status, SECRET in text, "Payloads" in text) == (200, False, False)
        for token, shown, words in (("a-codec-token", True, ""), ("wrong-token", False, "decoded")):
            async with visited(database.settings, codec_url=codec_url, codec_token=token) as visitor:
                await visitor.log_in()
                status, text = await visitor.get("/job?id=a")
                assert (status, SECRET in text, words in text) == (200, shown, True)


async def test_no_database(database: Database) -> None:
    """Without the database the page says so and is not ready."""
    away = Settings.load(database_url="postgresql://nobody@127.0.0.1:9/none")
    async with visited(away) as visitor:
        await visitor.log_in()
        status, text = await visitor.get("/")
        assert (status, "can&#39;t connect to PostgreSQL" in text) == (503, True)
        assert (await visitor.get("/readyz"))[0] == 503


async def test_tls(database: Database, tmp_path: Path) -> None:
    """With a certificate it serves HTTPS, and the cookie never goes without."""
    authority = Authority(tmp_path)
    files: TlsFiles = authority.issue("page")
    async with visited(database.settings, tls=files) as visitor:
        assert visitor.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=authority.certificate)
        async with visitor.session.post(
            f"{visitor.url}/login", data={"token": TOKEN}, ssl=trusted, allow_redirects=False
        ) as response:
            assert "Secure" in response.headers["Set-Cookie"]


def test_sessions() -> None:
    """A login ends with its time, with its token, and with a changed letter; wrong tokens are looked at for a while."""
    now = 0.0
    sessions = Sessions(Tokens([TOKEN]), clock=lambda: now)
    cookie = sessions.log_in(TOKEN, " Ada\n")
    assert cookie is not None
    session = sessions.read(cookie)
    assert session is not None and session.name == "Ada"
    assert sessions.log_in("wrong", "") is None
    for wrong in (None, "", "x", cookie[:-1] + "z", cookie.replace(".", "A."), "é.ü", sessions.note("hello")):
        assert sessions.read(wrong) is None
    assert sessions.read_note(cookie) is None
    assert Sessions(Tokens([TOKEN])).read(cookie) is None
    now = 12 * 3600 + 1
    assert sessions.read(cookie) is None
    attempts = Attempts(2, clock=lambda: now)
    for expected in (False, False, True):
        assert attempts.are_exhausted() is expected
        attempts.failed()
    now += 61
    assert not attempts.are_exhausted()


def test_revoked_token(tmp_path: Path) -> None:
    """A login ends when its token leaves the file."""
    file = tmp_path / "tokens"
    file.write_text("first-token\nsecond-token\n")
    clock = iter(range(0, 10_000, 100))
    sessions = Sessions(Tokens(file=file, clock=lambda: float(next(clock))))
    first, second = sessions.log_in("first-token", ""), sessions.log_in("second-token", "")
    assert sessions.read(first) and sessions.read(second)
    file.write_text("second-token\n# first-token is gone\n")
    assert sessions.read(first) is None
    assert sessions.read(second) is not None


async def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Jinja2 the command says what to install."""
    monkeypatch.setattr(ui, "is_installed", lambda: False)
    ran = await delegator("ui")
    assert (ran.code, ran.err) == (2, f"delegator: `delegator ui` needs Jinja2: {ui.INSTALL}\n")


def test_wrong_codec_url() -> None:
    with pytest.raises(ConfigurationError, match="--codec-url here"):
        options(codec_url="here")
    assert options(codec_url=None).converter is DataConverter.default
