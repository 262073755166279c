"""TLS to PostgreSQL, to the stream, to Temporal and to the health servers, with certificates that must be right."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from prometheus_client import CollectorRegistry
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr
from temporalio.converter import DataConverter

from delegator.config import Settings
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.errors import ConfigurationError, DatabaseError, StreamError, TemporalError
from delegator.postgres.connections import connect
from delegator.relay import RelayOptions, running_relay
from delegator.runtime.health import HealthServer, LocalHealth
from delegator.runtime.liveness import Liveness
from delegator.runtime.server_tls import TlsFiles
from delegator.runtime.temporal_client import check_namespace, connect_temporal
from http_workers.source import StreamRefusedError, StreamSource
from tests.support import Database
from tests.support.certificates import Authority
from tests.support.tls_proxy import tls_proxy


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that nobody trusts here."""
    return Authority(tmp_path, "stranger")


def verified(url: str, port: int, trusted: Path) -> str:
    """Return the URL of a database behind TLS, whose certificate must be right."""
    given: dict[str, Any] = conninfo_to_dict(url)
    return make_conninfo(**{**given, "port": port, "sslmode": "verify-full", "sslrootcert": str(trusted)})


def port_of(database: Database) -> int:
    return int(str(conninfo_to_dict(database.url)["port"]))


async def test_stream(database: Database, authority: Authority, stranger: Authority, tmp_path: Path) -> None:
    """The relay reads the WAL by verified TLS and serves HTTPS; its tokens change while it runs."""
    token_file = tmp_path / "tokens"
    token_file.write_text("first-token\n")
    async with tls_proxy(port_of(database), authority.issue("postgres"), is_postgres=True) as port:
        url = SecretStr(verified(database.url, port, authority.certificate))
        settings = database.settings.model_copy(update={"database_url": url})
        options = RelayOptions.from_settings(settings, port=0, token_file=token_file, tls=authority.issue("relay"))
        async with running_relay(options) as relay:
            assert relay.url.startswith("https://")

            async def received(token: str, trusted: Path | None = authority.certificate) -> int:
                made = StreamSource(url=relay.url, queue="default", token=SecretStr(token), ca_file=trusted)
                async with made as source:
                    return len(await source.receive(10, timedelta(seconds=5)))

            async with await psycopg.AsyncConnection.connect(database.url) as connection:
                await connection.execute("INSERT INTO custom_task_queue (job_id, job_type) VALUES ('a', 't')")
            assert await received("first-token") == 1
            for trusted in (stranger.certificate, None):
                with pytest.raises(StreamError, match="its certificate: .*see DELEGATOR_STREAM_CA_FILE"):
                    await received("first-token", trusted)
            with pytest.raises(StreamRefusedError, match="refuses the token"):
                await received("second-token")
            token_file.write_text("second-token\n")
            async with asyncio.timeout(60):
                while await refuses(received("second-token")):
                    await asyncio.sleep(0.1)
            assert await refuses(received("first-token"))


async def refuses(receiving: Any) -> bool:
    try:
        await receiving
    except StreamRefusedError:
        return True
    return False


async def test_wrong_postgres(database: Database, authority: Authority, stranger: Authority) -> None:
    """A server with the certificate of a stranger, or of another host, gets no password."""
    other_host = authority.issue("other-host", ["postgres.example.com"])
    for files, trusted in ((authority.issue("server"), stranger), (other_host, authority)):
        async with tls_proxy(port_of(database), files, is_postgres=True) as port:
            with pytest.raises(DatabaseError, match=r"can't connect to PostgreSQL \(DELEGATOR_DATABASE_URL\)"):
                await connect(verified(database.url, port, trusted.certificate), application_name="test")


def test_wrong_authorities(tmp_path: Path) -> None:
    """What can't be trusted is refused before anything is sent, by the name of the setting."""
    (tmp_path / "empty").touch()
    for file, said in ((tmp_path / "nowhere", "No such file"), (tmp_path / "empty", "no certificate in PEM")):
        with pytest.raises(ConfigurationError, match=f"DELEGATOR_STREAM_CA_FILE {file}: .*{said}"):
            StreamSource(url="https://127.0.0.1:1", queue="default", ca_file=file)


def test_open_relay(database: Database, authority: Authority) -> None:
    """The relay does not listen to the network without a token."""
    settings = database.settings.model_copy(update={"stream_token": None})
    for host in ("0.0.0.0", "::", "192.0.2.1", "relay.example.com"):
        with pytest.raises(ConfigurationError, match=f"--host {host}: the relay would answer every machine"):
            RelayOptions.from_settings(settings, host=host)
        RelayOptions.from_settings(settings, host=host, token_file=Path("tokens"))
    for host in ("127.0.0.1", "::1", "localhost"):
        dataclasses.replace(RelayOptions.from_settings(settings), host=host)


async def test_temporal(
    temporal: TemporalServer, authority: Authority, stranger: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Temporal behind mutual TLS: by variables and by a profile; what is missing or wrong is said so."""
    port = int(temporal.address.rpartition(":")[2])
    client, foreign = authority.issue("client"), stranger.issue("foreign")
    server = authority.issue("frontend", ["frontend.example.com"])
    async with tls_proxy(port, server, clients=authority.certificate) as proxy:
        profile = tmp_path / "temporal.toml"
        profile.write_text(
            f"""
            [profile.secured]
            address = "127.0.0.1:{proxy}"
            namespace = "{NAMESPACE}"
            [profile.secured.tls]
            server_name = "frontend.example.com"
            server_ca_cert_path = "{authority.certificate}"
            client_cert_path = "{client.certificate}"
            client_key_path = "{client.key}"
            """
        )

        async def reached(**variables: object) -> None:
            with monkeypatch.context() as patch:
                for name, value in variables.items():
                    patch.setenv(f"TEMPORAL_{name}", str(value))
                await check_namespace(await connect_temporal(DataConverter.default, lazy=False))

        given = {
            "ADDRESS": f"127.0.0.1:{proxy}",
            "TLS_SERVER_CA_CERT_PATH": authority.certificate,
            "TLS_SERVER_NAME": "frontend.example.com",
            "TLS_CLIENT_CERT_PATH": client.certificate,
            "TLS_CLIENT_KEY_PATH": client.key,
        }
        await reached(**given)
        await reached(CONFIG_FILE=profile, PROFILE="secured")
        wrong: list[dict[str, object]] = [
            {"TLS_SERVER_CA_CERT_PATH": stranger.certificate},
            {"TLS_SERVER_NAME": "other.example.com"},
            {"TLS_CLIENT_CERT_PATH": foreign.certificate, "TLS_CLIENT_KEY_PATH": foreign.key},
        ]
        for change in wrong:
            with pytest.raises(TemporalError, match="TEMPORAL_ADDRESS"):
                await reached(**given | change)


async def test_health(authority: Authority) -> None:
    """A health server may serve TLS; one option without the other, and a key of another certificate, are refused."""
    health = LocalHealth(CollectorRegistry(), Liveness(), {})
    context = ssl.create_default_context(cafile=str(authority.certificate))
    files = authority.issue("health")
    with HealthServer(health, tls=files) as server:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"https://localhost:{server.port}/livez", ssl=context) as answer:
                assert (await answer.json())["live"] is True
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"http://localhost:{server.port}/livez")
    other = authority.issue("other")
    with pytest.raises(ConfigurationError, match="are no certificate and its unencrypted key"):
        HealthServer(health, tls=TlsFiles(files.certificate, other.key))
    with pytest.raises(ConfigurationError, match="No such file"):
        HealthServer(health, tls=TlsFiles(files.certificate, Path("/nowhere")))
    with pytest.raises(ConfigurationError, match="--tls-cert and --tls-key go together"):
        TlsFiles.given(files.certificate, None)


def test_settings_hide_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """No dump of the settings or of a relay's options holds a secret."""
    secret = "correct-horse-battery"
    monkeypatch.setenv("DELEGATOR_DATABASE_URL", f"postgresql://me:{secret}@db/x")
    for name in ("STREAM_TOKEN", "CODEC_TOKEN", "ENCRYPTION_KEYS"):
        monkeypatch.setenv(f"DELEGATOR_{name}", secret)
    settings = Settings.load()
    shown = (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json())
    for text in (*shown, repr(RelayOptions.from_settings(settings))):
        assert secret not in text
