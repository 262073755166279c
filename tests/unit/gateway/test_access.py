"""Bearer tokens of workers, and the job tokens that they send."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delegator.errors import ConfigurationError
from delegator.gateway import job_tokens
from delegator.gateway.access import Scope, ScopedTokens
from delegator.gateway.job_tokens import JobToken


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def test_scopes(file: Path) -> None:
    """Each token has the scope that its line says."""
    file.write_text("# ours\nall-12345678\nsome-12345678  types=a,b-*  queues=mails # theirs\n")
    tokens = ScopedTokens(file)
    assert tokens.scope("all-12345678") == Scope()
    some = tokens.scope("some-12345678")
    assert some == Scope(queues=("mails",), types=("a", "b-*"))
    assert some is not None
    assert [some.allows_type(name) for name in ("a", "b-1", "b", "A", "ab-")] == [True, True, False, False, False]
    assert [some.allows_queue(name) for name in ("mails", "default")] == [True, False]
    assert tokens.scope("other-12345678") is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("short", "token 1 is shorter"),
        ("long-enough-1\nlong-enough-2 type=a", "behind token 2 write"),
        ("long-enough-1 types=", "behind token 1 write"),
        ("long-enough-1 types=a types=b", "behind token 1 write"),
    ],
)
def test_wrong_lines(file: Path, text: str, complaint: str) -> None:
    """A line that can't be meant so is refused at the start, without the token."""
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=complaint) as refusal:
        ScopedTokens(file)
    assert "long-enough" not in str(refusal.value)


def test_changed_file(file: Path) -> None:
    """The file is read again when it has changed, and a wrong one changes nothing."""
    now = [0.0]
    file.write_text("first-12345678")
    tokens = ScopedTokens(file, clock=lambda: now[0])
    for text, known in (("second-12345678 types=a", True), ("bad", True), ("third-12345678", False)):
        file.write_text(text)
        now[0] += 60
        assert (tokens.scope("second-12345678") is not None) is known
    assert tokens.scope("first-12345678") is None


@given(st.text(), st.integers(0, 2**62), st.integers(0, 2**60), st.none() | st.integers(0, 2**60))
def test_job_tokens(job_id: str, fencing_token: int, started_ms: int, until_ms: int | None) -> None:
    """A job token names what it was made of."""
    token = JobToken("default", job_id.replace("\0", ""), fencing_token, started_ms, until_ms)
    assert job_tokens.unpack(job_tokens.pack(token)) == token


@given(st.text() | st.binary().map(lambda data: data.hex()))
def test_no_job_tokens(text: str) -> None:
    """Whatever else is sent is no job token, and raises nothing."""
    assert job_tokens.unpack(text) is None
