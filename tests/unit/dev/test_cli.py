import platform
import subprocess
import sys
from importlib.metadata import version

import pytest
import typer

from delegator.cli.main import run
from delegator.errors import ConfigurationError, DatabaseError, DelegatorError, WireError


def _raising(error: BaseException) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigurationError("set X"), 2), (DatabaseError("start it"), 2), (WireError("odd"), 1), (DelegatorError("?"), 1)],
)
def test_an_error_is_one_line_and_an_exit_code(
    error: DelegatorError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["delegator"])
    assert run(lambda: _raising(error), "delegator") == code
    captured = capsys.readouterr()
    assert captured.err == f"delegator: {error}\n"
    assert captured.out == ""


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["delegator"])
    assert run(lambda: _raising(KeyboardInterrupt()), "delegator") == 130


def _delegator(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "delegator", *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("module", "program"), [("delegator", "delegator"), ("http_workers", "http-worker"), ("loadtest", "loadtest")]
)
def test_version(module: str, program: str) -> None:
    """Every program prints its name and the versions of an error report in one line, and needs no other option."""
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{program}: temporal-delegator {version('temporal-delegator')} "
        f"(Python {platform.python_version()}, temporalio {version('temporalio')})\n"
    )


@pytest.mark.parametrize("arguments", [("no-such-command",), ("dev", "--no-such-option"), ("dev", "--queues", "9!")])
def test_bad_usage_is_exit_code_2_without_a_traceback(arguments: tuple[str, ...]) -> None:
    done = _delegator(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr
