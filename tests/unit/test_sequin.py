"""sequin.yml, read back as Sequin reads it: parsed, then with variables filled in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer import Typer
from typer.testing import CliRunner

from delegator.cli.sequin_config import register
from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.migrate.sequin import render_config

SINK_KEYS = {"name", "database", "status", "source", "actions", "message_grouping", "destination"}
URL = "postgresql://bob:s3cr%22et@db.example:5433/app?sslmode=require"


def settings(**values: object) -> Settings:
    return Settings.load(**{"database_url": URL, "queues": "default,video", **values})


def fill_in(node: Any, environment: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: fill_in(value, environment) for key, value in node.items()}
    if isinstance(node, list):
        return [fill_in(value, environment) for value in node]
    if isinstance(node, str):
        return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda m: environment.get(m[1]) or m[2] or "", node)
    return node


def test_sinks() -> None:
    """Each queue has one sink, with a slot and a publication of its own."""
    document = yaml.safe_load(render_config(settings()))
    sinks, databases = document["sinks"], document["databases"]

    assert [sink["name"] for sink in sinks] == ["custom_task_queue", "custom_task_queue_video"]
    assert [sink["source"]["include_tables"] for sink in sinks] == [
        ["public.custom_task_queue"],
        ["public.custom_task_queue_video"],
    ]
    for sink in sinks:
        # Sequin refuses keys that it does not know.
        assert set(sink) == SINK_KEYS
        assert sink["actions"] == ["insert"]
        assert sink["message_grouping"] is False
        assert sink["destination"] == {"type": "sequin_stream"}
    assert [sink["database"] for sink in sinks] == ["delegator", "delegator_video"]
    assert [database["name"] for database in databases] == ["delegator", "delegator_video"]
    assert [database["slot"]["name"] for database in databases] == ["delegator_slot", "delegator_slot_video"]
    assert [database["publication"]["name"] for database in databases] == [
        "delegator_publication",
        "delegator_publication_video",
    ]
    own = ("name", "slot", "publication")
    assert len({str({k: v for k, v in database.items() if k not in own}) for database in databases}) == 1


def test_additional_queue_only() -> None:
    """A deployment may serve an additional queue only."""
    document = yaml.safe_load(render_config(settings(queues="video", slot="s", publication="p")))

    (database,) = document["databases"]
    assert (database["name"], database["slot"]["name"], database["publication"]["name"]) == (
        "delegator_video",
        "s_video",
        "p_video",
    )
    assert [sink["database"] for sink in document["sinks"]] == ["delegator_video"]


def test_database() -> None:
    """The database comes from our settings; its password comes from Sequin's environment."""
    text = render_config(settings(queues="default", slot="my_slot", publication="my_publication"))
    assert "s3cr" not in text

    (database,) = fill_in(yaml.safe_load(text), {"DELEGATOR_PG_PASSWORD": "p\"w'}d"})["databases"]
    assert database == {
        "name": "delegator",
        "hostname": "db.example",
        "port": "5433",
        "database": "app",
        "username": "bob",
        "password": "p\"w'}d",
        "ssl": True,
        "pool_size": 5,
        "slot": {"name": "my_slot", "create_if_not_exists": True},
        "publication": {"name": "my_publication", "create_if_not_exists": False},
        "await_database": {"timeout_ms": 60000, "interval_ms": 1000},
    }


def test_environment() -> None:
    """Secrets and addresses come from Sequin's environment."""
    environment = {"DELEGATOR_STREAM_TOKEN": "token", "SEQUIN_ADMIN_PASSWORD": "long", "DELEGATOR_PG_HOSTNAME": "pg"}
    document = fill_in(yaml.safe_load(render_config(settings(stream_token="unseen"))), environment)

    assert document["account"] == {"name": "delegator"}
    assert document["api_tokens"] == [{"name": "delegator-workers", "token": "token"}]
    assert document["users"] == [{"email": "admin@example.com", "password": "long"}]
    assert document["databases"][0]["hostname"] == "pg"


def test_fill_in_before_parsing() -> None:
    """A value with special characters does not break the YAML text into which it is filled."""
    text = fill_in(render_config(settings()), {"DELEGATOR_PG_PASSWORD": "a\"b: #'c"})

    assert yaml.safe_load(text)["databases"][0]["password"] == "a\"b: #'c"


def test_default_with_brace() -> None:
    """A default that holds a closing brace is left out, because it would end its variable."""
    text = render_config(settings(database_url="host=/tmp dbname='a}b' user=x"))

    assert "${DELEGATOR_PG_DATABASE}" in text
    assert "a}b" not in text


def test_bad_input() -> None:
    with pytest.raises(ConfigurationError, match="DELEGATOR_DATABASE_URL"):
        render_config(settings(database_url="nonsense with spaces"))
    with pytest.raises(ConfigurationError, match="--schema"):
        render_config(settings(), schema="a${b}")


def test_command(tmp_path: Path) -> None:
    """The command prints the configuration or writes it to a file, and refuses a folder that does not exist."""
    app = Typer()
    register(app)
    options = ["--database-url", URL, "--queues", "video", "--schema", "jobs"]

    printed = CliRunner().invoke(app, options)
    written = CliRunner().invoke(app, [*options, "--output", str(tmp_path / "sequin.yml")])
    refused = CliRunner().invoke(app, [*options, "--output", str(tmp_path / "none" / "sequin.yml")])

    assert printed.exit_code == written.exit_code == 0
    assert (tmp_path / "sequin.yml").read_text() == printed.stdout
    assert yaml.safe_load(printed.stdout)["sinks"][0]["source"] == {"include_tables": ["jobs.custom_task_queue_video"]}
    assert isinstance(refused.exception, ConfigurationError)
