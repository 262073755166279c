from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from delegator.errors import StreamError
from delegator.runtime.logs import LogFormat, configure_logging

SECRET = "s3cr3t-payload"


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_text_format(out: io.StringIO):
    """The text format writes each event as one line, with quotes around values that need them."""
    configure_logging(LogFormat.TEXT, stream=out)
    logging.getLogger("http_workers.x").info(
        "claimed", extra={"rows": 3, "queue": "default", "note": 'a "b"\nc', "seconds": 0.25, "empty": ""}
    )
    (line,) = out.getvalue().splitlines()
    time, rest = line.split(" ", 1)
    assert time.endswith("Z")
    assert rest == ('info http_workers.x claimed rows=3 queue=default note="a \\"b\\"\\nc" seconds=0.25 empty=""')


def test_json_format(out: io.StringIO):
    """The JSON format writes each event as one object on one line, whatever its values are."""
    configure_logging(LogFormat.JSON, stream=out)
    logging.getLogger("delegator.x").warning("two\nlines", extra={"rows": 3, "odd": {1: object}})
    (line,) = out.getvalue().splitlines()
    event = json.loads(line)
    assert (event["level"], event["logger"], event["event"], event["rows"]) == (
        "warning",
        "delegator.x",
        "two\nlines",
        3,
    )


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_error_without_message(log_format: LogFormat, out: io.StringIO):
    """A log line has an exception's type and place; its message is shown for our own and the system's errors only."""
    configure_logging(log_format, stream=out)
    log = logging.getLogger("http_workers.x")
    log.error("job_crashed", exc_info=raised(ValueError(SECRET)))
    log.error("receive_failed", exc_info=raised(StreamError("the stream is silent")))
    log.error("read_failed", exc_info=raised(ConnectionResetError(104, "Connection reset by peer")))
    first, second, third = out.getvalue().splitlines()
    assert "ValueError" in first
    assert "test_logs.py" in first
    assert SECRET not in out.getvalue()
    assert "the stream is silent" in second
    assert "Connection reset by peer" in third


def test_other_libraries(out: io.StringIO):
    """Messages of other libraries are cut to one line, and are left out below the level warning."""
    configure_logging(stream=out)
    asyncio_log = logging.getLogger("asyncio")
    asyncio_log.info("chatter")
    asyncio_log.error(f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{SECRET}')>")
    assert [line.split(" ", 3)[3] for line in out.getvalue().splitlines()] == ["Task exception was never retrieved"]


def test_levels(out: io.StringIO):
    """The level debug shows messages of other libraries, and a higher level hides ours below it."""
    configure_logging(level=logging.DEBUG, stream=out)
    logging.getLogger("asyncio").info("chatter")
    configure_logging(level="warning".upper(), stream=out)
    logging.getLogger("delegator").info("nothing")
    assert len(out.getvalue().splitlines()) == 1
