from __future__ import annotations

from typing import Any

import psycopg
import pytest
from temporalio.service import RPCError, RPCStatusCode

from loadtest import cli


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "Missing command"),
        ("walk", "No such command 'walk'"),
        ("run --arm classic", "--scenario"),
        ("run --arm modern --scenario single", "--arm: 'modern' is none of floor, local, classic"),
        ("run --arm classic --scenario double", "--scenario: 'double' is none of single"),
        ("run --arm classic --scenario single --workflows many", "--workflows"),
        ("run --arm classic --scenario single --concurrency 0", "--concurrency must be at least 1"),
        ("run --arm classic --scenario single --jobs 2", "try fanout"),
        ("run --arm classic --scenario single --timeout 0", "--timeout must be positive"),
        ("run --arm classic --scenario fanout --jobs 2001", "2000 pending activities"),
        ("run --arm classic --scenario single --json /no/such/directory/file", "--json: can't write"),
        ("compare --arms classic,classic --scenario single", "--arms: name each arm once"),
        ("compare --arms delegated,classic --scenario fanout --jobs 2001", "2000 pending activities"),
        ("compare --scenario single --rounds 0", "--rounds must be at least 1"),
        ("compare --bogus", "--bogus"),
        ("run --arm classic --scenario single --rate 5", "--rate does not fit the scenario single"),
        ("run --arm classic --scenario steady --concurrency 5", "--concurrency does not fit the scenario steady"),
        ("run --arm classic --scenario steady --rate 0", "--rate must be positive"),
        ("run --arm classic --scenario sleep --bursts 2", "--bursts does not fit the scenario sleep, but burst"),
        ("run --arm classic --scenario burst --workflows 2 --bursts 3", "there are only 2 --workflows"),
        ("run --arm classic --scenario fanout --payload-bytes 50000", "do not fit into a message to Temporal"),
        ("run --arm drop-in-worker --scenario backlog --jobs 2001", "2000 pending activities"),
        ("compare --arms delegated,floor --scenario backlog", "the arm floor has no jobs"),
        ("run --arm classic --scenario single --temporal mysql", "--temporal"),
        ("statements --arm modern", "--arm: 'modern' is none of floor"),
        ("bulk --duration 5", "--duration is the time of --rate"),
        ("bulk --rate 5 --bare", "--bare and --rate"),
        ("peers --scenarios bulk --rate 5", "--rate and --duration belong to steady"),
        ("peers --scenarios steady --jobs 5", "--jobs: steady has --rate times --duration jobs"),
    ],
)
def test_bad_arguments(monkeypatch, capsys, arguments: str, words: str) -> None:
    """Bad arguments end the command with one line and exit code 2."""
    monkeypatch.setattr("sys.argv", ["loadtest", *arguments.split()])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert words in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RPCError("no shard", RPCStatusCode.UNAVAILABLE, b""),
            "Temporal answered with an error: UNAVAILABLE: no shard",
        ),
        (psycopg.OperationalError("the connection is lost\nmore"), "PostgreSQL answered with an error: the connection"),
    ],
)
def test_server_error(monkeypatch, capsys, error: Exception, words: str) -> None:
    """A server that fails during a run ends the command with one line and exit code 1."""

    def build_app() -> Any:
        def app(**_: object) -> None:
            raise error

        return app

    monkeypatch.setattr(cli, "build_app", build_app)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    output = capsys.readouterr().err
    assert words in output
    assert output.count("\n") == 1


def test_statements_of_a_deployment(monkeypatch, capsys) -> None:
    """The command statements reads its servers' logs, so it does not fit servers that the environment names."""
    monkeypatch.setenv("DELEGATOR_DATABASE_URL", "postgresql://127.0.0.1:1/x")
    monkeypatch.setattr("sys.argv", ["loadtest", "statements"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    errors = capsys.readouterr().err
    assert "statements starts servers of its own" in errors
    assert errors.count("\n") == 1


def test_temporal_of_a_deployment(monkeypatch, capsys) -> None:
    """--temporal does not fit servers that the environment names."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    arguments = ["run", "--arm", "classic", "--scenario", "single", "--temporal", "postgres"]
    monkeypatch.setattr("sys.argv", ["loadtest", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "--temporal is for the embedded stack: unset TEMPORAL_ADDRESS" in capsys.readouterr().err
