"""The codec server, as Temporal's UI and CLI ask it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import ssl
import sys
import uuid
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from google.protobuf.json_format import MessageToDict
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.client import Client
from temporalio.converter import PayloadCodec

from delegator.codec_server.service import CodecServerOptions, running_codec_server
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.encryption import EncryptionCodec, EncryptionKey, EncryptionKeys, encrypted
from delegator.errors import ConfigurationError
from delegator.runtime.tokens import Tokens
from tests.formats.folders import CURRENT_FRAMES, folder
from tests.support.certificates import Authority

SECRET = "correct-horse-battery-staple"
TOKEN = "a-token-of-the-test"
UI = "http://127.0.0.1:8233"
KEYS = EncryptionKeys([EncryptionKey.new("now"), EncryptionKey.new("before")])
OPTIONS = CodecServerOptions(
    codec=EncryptionCodec(KEYS), tokens=Tokens([TOKEN]), origins=(UI, "http://localhost:8233"), port=0
)
HISTORIES = folder(CURRENT_FRAMES, "histories")
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(SECRET).encode())


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[str]:
    async with running_codec_server(OPTIONS) as url:
        yield url


@pytest.fixture(scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def body(*payloads: Payload) -> dict[str, Any]:
    return MessageToDict(Payloads(payloads=payloads))


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_round_trip(server: str, session: aiohttp.ClientSession) -> None:
    """What is encoded is unreadable, and decoded again; with the namespace in the path, too."""
    async with session.post(f"{server}/encode", json=body(PLAIN), headers=bearer()) as answer:
        encoded = await answer.json()
    assert encoded["payloads"][0]["metadata"]["encryption-key-id"] == b64encode(b"now").decode()
    for path in ("decode", "default/decode?preserveStorageRefs=true"):
        async with session.post(f"{server}/{path}", json=encoded, headers=bearer()) as answer:
            assert (answer.status, answer.content_type) == (200, "application/json")
            assert await answer.json() == body(PLAIN)
            assert answer.headers["Cache-Control"] == "no-store"


async def test_outcomes(session: aiohttp.ClientSession) -> None:
    """Without a codec, too, what a signal brings to a workflow is shown as JSON; it is encoded as it was."""
    history = json.loads((HISTORIES / "failure-signal.json").read_text())
    (signal,) = (event for event in history["events"] if "workflowExecutionSignaledEventAttributes" in event)
    signalled = signal["workflowExecutionSignaledEventAttributes"]["input"]
    async with running_codec_server(dataclasses.replace(OPTIONS, codec=None)) as server:
        async with session.post(f"{server}/decode", json=signalled, headers=bearer()) as answer:
            decoded = await answer.json()
        (shown,) = decoded["payloads"]
        assert b64decode(shown["metadata"]["encoding"]) == b"json/plain"
        (job,) = json.loads(b64decode(shown["data"]))["first"]
        assert (job["status"], job["failure"]["cause"]["message"]) == ("failed", "refused: no")
        async with session.post(f"{server}/encode", json=decoded, headers=bearer()) as answer:
            assert await answer.json() == signalled


async def test_tokens(server: str, session: aiohttp.ClientSession) -> None:
    """Without the token nothing is decoded; a browser may send it as a password."""
    basic = {"Authorization": f"Basic {b64encode(f'me:{TOKEN}'.encode()).decode()}"}
    seen = []
    for headers in ({}, bearer("wrong"), bearer(TOKEN[:-1]), {"Authorization": TOKEN}, bearer(), basic):
        async with session.post(f"{server}/decode", json=body(PLAIN), headers=headers) as answer:
            seen.append(answer.status)
            assert (answer.status == 200) or SECRET not in await answer.text()
            assert (answer.status == 401) is ("WWW-Authenticate" in answer.headers)
    assert seen == [401, 401, 401, 401, 200, 200]
    async with session.get(server) as asked, session.get(server, headers=basic) as greeted:
        assert (asked.status, greeted.status) == (401, 200)


async def test_pages(server: str, session: aiohttp.ClientSession) -> None:
    """A browser lets the UI's page ask, with a token; pages of other origins are refused before their token is read."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-namespace"}
    for origin, status in ((UI, 204), ("http://localhost:8233", 204), ("http://evil.example", 403), ("null", 403)):
        async with session.options(f"{server}/decode", headers={"Origin": origin, **asked}) as answer:
            assert answer.status == status
            allowed = answer.headers.get("Access-Control-Allow-Origin")
            assert allowed == (origin if status == 204 else None)
            if status == 204:
                assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
                assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        async with session.post(f"{server}/decode", json=body(PLAIN), headers={"Origin": origin, **bearer()}) as answer:
            assert answer.status == (200 if status == 204 else 403)
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed
    # The page can read a refusal, so that the UI shows it.
    async with session.post(f"{server}/decode", json=body(PLAIN), headers={"Origin": UI}) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (401, UI)


class Broken(PayloadCodec):
    async def encode(self, payloads: Any) -> Any:
        raise ValueError(SECRET)

    async def decode(self, payloads: Any) -> Any:
        raise ValueError(SECRET)


async def test_refusals(server: str, session: aiohttp.ClientSession) -> None:
    """A malformed body and an unreadable payload are refused in words, without what they hold, and counted."""
    (foreign,) = await EncryptionCodec(EncryptionKeys([EncryptionKey.new("theirs")])).encode([PLAIN])
    for sent, words in (
        (b"{" + SECRET.encode(), "no JSON of Payloads"),
        (b'{"payloads": "' + SECRET.encode() + b'"}', "no JSON of Payloads"),
        (b"\xff", "no JSON of Payloads"),
        (json.dumps(body(foreign)).encode(), "key 'theirs' is not among the keys 'now', 'before'"),
    ):
        async with session.post(f"{server}/decode", data=sent, headers=bearer()) as answer:
            text = await answer.text()
            assert answer.status == 400 and words in text and SECRET not in text
    async with (
        running_codec_server(dataclasses.replace(OPTIONS, codec=Broken())) as broken,
        session.post(f"{broken}/decode", json=body(PLAIN), headers=bearer()) as answer,
    ):
        assert (answer.status, await answer.text()) == (400, "the payload codec raised ValueError\n")
    async with session.get(f"{server}/metrics") as answer:
        metrics = await answer.text()
    assert 'delegator_codec_requests_refused_total{reason="malformed"} 3.0' in metrics
    assert 'delegator_codec_requests_refused_total{reason="unreadable"} 1.0' in metrics


def test_open_without_a_token() -> None:
    """It does not listen to the network without a token, and an origin with a path is refused."""
    with pytest.raises(ConfigurationError, match="--host 0.0.0.0: the codec server would answer every machine"):
        CodecServerOptions(codec=OPTIONS.codec, tokens=Tokens(), host="0.0.0.0")
    for origin in ("*", "http://ui.example/", "ui.example", "http://"):
        with pytest.raises(ConfigurationError, match="write it like"):
            dataclasses.replace(OPTIONS, origins=(origin,))


async def test_cli(temporal: TemporalServer, tmp_path: Path) -> None:
    """`delegator codec-server` decodes for Temporal's own CLI, by HTTPS and with a token of a file that changes."""
    authority = Authority(tmp_path)
    files, token_file = authority.issue("codec"), tmp_path / "tokens"
    token_file.write_text("first-token\n")
    client = await Client.connect(
        temporal.address, namespace=NAMESPACE, data_converter=encrypted(keys=EncryptionKeys([*KEYS]))
    )
    workflow_id = f"encrypted-{uuid.uuid4()}"
    await client.start_workflow("Unknown", SECRET, id=workflow_id, task_queue="nobody")
    show = [
        *(Path(sys.executable).with_name("temporal"), "workflow", "show", "--output", "json"),
        *("--address", temporal.address, "--workflow-id", workflow_id),
    ]

    async def shown(*options: str) -> tuple[int | None, str]:
        # Go programs take the authorities to trust from this variable.
        environment = {**os.environ, "SSL_CERT_FILE": str(authority.certificate)}
        process = await asyncio.create_subprocess_exec(
            *show, *options, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    arguments = ("codec-server", "--port", "0", "--token-file", str(token_file))
    tls = ("--tls-cert", str(files.certificate), "--tls-key", str(files.key))
    settings = {"DELEGATOR_ENCRYPTION_KEYS": ",".join(key.written for key in KEYS)}
    readable = b64encode(PLAIN.data).decode()
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "delegator", *arguments, *tls),
        env={**os.environ, **settings},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert server.stderr is not None
        line = (await server.stderr.readline()).decode()
        url = line.rpartition("url=")[2].strip()
        assert url.startswith("https://127.0.0.1:")
        endpoint = ("--codec-endpoint", url)
        code, text = await shown()
        assert code == 0 and readable not in text
        code, text = await shown(*endpoint, "--codec-auth", "Bearer first-token")
        assert code == 0 and readable in text
        code, text = await shown(*endpoint, "--command-timeout", "1s")  # the CLI asks again and again
        assert code != 0 and readable not in text
        token_file.write_text("second-token\n")
        code, text = await shown(*endpoint, "--codec-auth", "Bearer second-token")
        assert code == 0 and readable in text
        await _certificate_is_replaced(authority, url)
    finally:
        server.terminate()
        await server.wait()
    assert server.returncode == 0
    await client.get_workflow_handle(workflow_id).terminate()


async def _certificate_is_replaced(authority: Authority, url: str) -> None:
    """A new certificate is used without a restart."""
    context = ssl.create_default_context(cafile=str(authority.certificate))

    async def serial() -> str:
        parts = urlsplit(url)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=context)
        try:
            return str(writer.get_extra_info("peercert")["serialNumber"])
        finally:
            writer.close()
            await writer.wait_closed()

    before = await serial()
    authority.issue("codec")
    async with asyncio.timeout(30):
        while await serial() == before:
            await asyncio.sleep(0.05)
