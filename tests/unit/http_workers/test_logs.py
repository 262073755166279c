from __future__ import annotations

import io
import json
import logging

import pytest
import temporalio

from delegator.context import JobLogger
from delegator.errors import StreamError
from delegator.runtime.logs import LogFormat, configure_logging

SECRET = "s3cr3t-payload"


pytestmark = pytest.mark.usefixtures("restored_logging")


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


def test_lines_of_the_pool(out: io.StringIO):
    """The pool's warnings about each attempt to connect are written with the level DEBUG only."""
    configure_logging(stream=out)
    logging.getLogger("psycopg.pool").warning("error connecting")
    assert out.getvalue() == ""
    configure_logging(level=logging.DEBUG, stream=out)
    logging.getLogger("psycopg.pool").warning("error connecting")
    assert "error connecting" in out.getvalue()


def test_users_lines(out: io.StringIO):
    """A user's log lines are written whole, with an exception's message and traceback."""
    configure_logging(stream=out)
    for log in (logging.getLogger("shop.orders"), logging.getLogger("__main__"), JobLogger(job_id="j1").logger):
        log.info("order %s\nwas packed", 7)
        log.error("no luck", exc_info=raised(ValueError(SECRET)))
    lines = out.getvalue().splitlines()
    assert lines[0].endswith('info shop.orders "order 7\\nwas packed"')
    assert lines[1].endswith(f"error shop.orders no luck error=ValueError reason={SECRET}")
    assert lines[2] == "Traceback (most recent call last):"
    assert out.getvalue().count(f"\nValueError: {SECRET}\n") == 3


def test_users_exception_in_json(out: io.StringIO):
    """A user's exception is one JSON object with its message and traceback."""
    configure_logging(LogFormat.JSON, stream=out)
    logging.getLogger("shop").error("no luck", exc_info=raised(ValueError(SECRET)))
    (line,) = out.getvalue().splitlines()
    event = json.loads(line)
    assert (event["error"], event["reason"]) == ("ValueError", SECRET)
    assert event["traceback"].startswith("Traceback")
    assert event["traceback"].endswith(f"ValueError: {SECRET}")


def test_loggers_shared_with_temporal(out: io.StringIO):
    """Lines of `workflow.logger` and `activity.logger` are the user's if the user's code logs them, else the SDK's."""
    configure_logging(stream=out)
    activity_log = logging.getLogger("temporalio.activity")
    activity_log.info("packed")
    sdk = f"{next(iter(temporalio.__path__))}/worker/_activity.py"
    activity_log.handle(activity_log.makeRecord(activity_log.name, logging.INFO, sdk, 1, "chatter", (), None))
    error = raised(ValueError(SECRET))
    failed = (type(error), error, error.__traceback__)
    activity_log.handle(activity_log.makeRecord(activity_log.name, logging.WARNING, sdk, 1, "failed", (), failed))
    packed, failure = out.getvalue().splitlines()
    assert packed.endswith("packed")
    assert "error=ValueError at=" in failure and SECRET not in failure


def test_messages_on_demand(out: io.StringIO):
    """Messages of the engine's errors and of other libraries are written if the setting asks for it."""
    configure_logging(stream=out, messages=True)
    logging.getLogger("http_workers.x").error("job_crashed", exc_info=raised(ValueError(SECRET)))
    logging.getLogger("asyncio").error(f"never retrieved\nfuture: {SECRET}")
    assert out.getvalue().count(f"\nValueError: {SECRET}\n") == 1
    assert out.getvalue().endswith(f'"never retrieved\\nfuture: {SECRET}"\n')


def test_fields_of_every_line(out: io.StringIO):
    """Fields that every line gets never hide a field of the event itself."""
    configure_logging(stream=out, fields={"worker": 3})
    logging.getLogger("http_workers.x").info("claimed", extra={"rows": 1})
    logging.getLogger("shop").info("packed", extra={"worker": "Ann"})
    first, second = out.getvalue().splitlines()
    assert first.endswith("claimed rows=1 worker=3")
    assert second.endswith("packed worker=Ann")


def test_job_logger(out: io.StringIO):
    """The job's logger adds its fields to those of a call."""
    configure_logging(stream=out)
    JobLogger(job_id="j1", attempt=2).info("packed", extra={"order": 7})
    assert out.getvalue().endswith("info delegator.job packed job_id=j1 attempt=2 order=7\n")


def test_levels(out: io.StringIO):
    """The level debug shows messages of other libraries, and a higher level hides ours below it."""
    configure_logging(level=logging.DEBUG, stream=out)
    logging.getLogger("asyncio").info("chatter")
    configure_logging(level="warning".upper(), stream=out)
    logging.getLogger("delegator").info("nothing")
    assert len(out.getvalue().splitlines()) == 1
