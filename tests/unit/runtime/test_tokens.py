"""Tokens of servers: several, from a file that changes."""

from __future__ import annotations

import logging
from base64 import b64encode
from pathlib import Path

import pytest

from delegator.errors import ConfigurationError
from delegator.runtime.tokens import Tokens, token_of


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_fixed() -> None:
    tokens = Tokens(["one-of-two", "two-of-two"])
    assert tokens.required and not Tokens().required
    assert [tokens.accept(token) for token in ("one-of-two", "two-of-two", "one-of-tw", "", "\udcff")] == [
        *(True, True),
        *(False, False, False),
    ]


def test_rotation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is written again is read again; if it can't be, the tokens stay as they are, and it is said once."""
    caplog.set_level(logging.INFO)
    clock, file = Clock(), tmp_path / "tokens"
    file.write_text("# of June\nold-token-1\n")
    tokens = Tokens(["fixed-token"], file=file, clock=clock)

    def accepted() -> list[bool]:
        clock.now += 2
        return [tokens.accept(token) for token in ("fixed-token", "old-token-1", "new-token-1")]

    assert accepted() == [True, True, False]
    file.write_text("old-token-1\nnew-token-1  # of December\n")
    assert tokens.accept("new-token-1") is False  # it looks at most once a second
    assert accepted() == [True, True, True]
    (tmp_path / "next").write_text("new-token-1\n")
    (tmp_path / "next").rename(file)
    assert accepted() == [True, False, True]
    for spoil in (lambda: file.write_text("\n"), file.unlink):
        spoil()
        assert accepted() == accepted() == [True, False, True]
    assert [record.getMessage() for record in caplog.records] == [*["tokens_read"] * 2, *["tokens_not_read"] * 2]
    assert "token-1" not in "".join(str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"# a\n \n", "is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"ok-token-1\nshort", "token 2 is shorter"),
    ],
)
def test_wrong_file(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said) as refused:
        Tokens(file=file)
    assert str(refused.value).startswith(f"--token-file {file}")
    with pytest.raises(ConfigurationError, match="No such file"):
        Tokens(file=tmp_path / "nowhere")


def test_headers() -> None:
    """A token is a bearer token, or the password that a browser has asked for."""
    basic = b64encode(b"anybody:the:token").decode()
    given = ("Bearer the-token", "bearer  the-token", f"Basic {basic}", "Basic ?", "Digest x", "")
    assert [token_of(header) for header in given] == ["the-token", "the-token", "the:token", None, None, None]
