"""Splits a migration into the same statements as Atlas, so that both count and hash the same texts."""

from __future__ import annotations

import base64
import hashlib
import re

from delegator.errors import SchemaError

_DOLLAR_QUOTE = re.compile(r"\$(?:[A-Za-zÈ-ÿ_][\wÈ-ÿ]*)?\$")
# Atlas takes a backslash inside quotes for an escape, whatever standard_conforming_strings says.
_QUOTED = {quote: re.compile(rf"{quote}(?:\\.|[^{quote}\\])*{quote}", re.DOTALL) for quote in ("'", '"', "`")}
_COMMENTS = (("--", "\n"), ("#", "\n"), ("/*", "*/"))


def split_statements(text: str) -> tuple[str, ...]:
    """Return the statements of `text`, each with its semicolon and without the comments before it.

    Raises:
        SchemaError: a quote is not closed, or the file sets its own delimiter.
    """
    if re.match(r"-- atlas:delimiter\b", text):
        raise SchemaError("a migration sets `atlas:delimiter`, which only the Atlas CLI understands: put it on PATH")
    statements = []
    start = position = depth = 0
    while position < len(text):
        at_start = not text[start:position].strip()
        if comment := _comment_end(text, position):
            position = comment
            if at_start:
                start = position
            continue
        character = text[position]
        if character == ";" and depth == 0:
            position += 1
            statements.append(text[start:position].strip())
            start = position
            continue
        depth += (character == "(") - (character == ")")
        position = _quote_end(text, position) or position + 1
    if rest := text[start:].strip():
        statements.append(rest)
    return tuple(statements)


def _comment_end(text: str, position: int) -> int | None:
    for opening, closing in _COMMENTS:
        if text.startswith(opening, position):
            end = text.find(closing, position)
            return len(text) if end < 0 else end + len(closing)
    return None


def _quote_end(text: str, position: int) -> int | None:
    character = text[position]
    if pattern := _QUOTED.get(character):
        match = pattern.match(text, position)
        if not match:
            raise SchemaError(f"a migration has an unclosed {character} after: {text[position : position + 40]!r}")
        return match.end()
    if character == "$" and (tag := _DOLLAR_QUOTE.match(text, position)):
        end = text.find(tag.group(), tag.end())
        return len(text) if end < 0 else end + len(tag.group())
    return None


def partial_hashes(statements: tuple[str, ...]) -> list[str]:
    """Return the checksum after each statement, in the form of the revision table."""
    running = hashlib.sha256()
    hashes = []
    for statement in statements:
        running.update(statement.encode())
        hashes.append(f"h1:{base64.b64encode(running.digest()).decode()}")
    return hashes
