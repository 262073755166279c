"""Reads the migration directory and verifies its `atlas.sum` as Atlas does."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import delegator_schema

from delegator.errors import SchemaError
from delegator.migrate.statements import split_statements

SUM_FILE = "atlas.sum"
_DIRECTIVE = re.compile(r"[ -~]*atlas:(\w+)(?: +([ -~]*))*")
_FILE_DIRECTIVES = re.compile(r"(?:(?:--|#)[^\n]*\n)+(?=\n)")
_HINT = "restore the released migration files; after a change on purpose run `atlas migrate hash`"


@dataclass(frozen=True)
class MigrationFile:
    """One versioned migration."""

    name: str
    """File name: `<version>_<description>.sql`."""
    text: str
    """The content of the file."""
    hash: str
    """Its checksum in `atlas.sum`, without `h1:`. It covers the files before it too."""

    @property
    def version(self) -> str:
        """The part of the name before the first underscore. Migrations are ordered by it."""
        return self.name.removesuffix(".sql").split("_", 1)[0]

    @property
    def description(self) -> str:
        """The part of the name after the first underscore."""
        return self.name.removesuffix(".sql").partition("_")[2]

    @property
    def statements(self) -> tuple[str, ...]:
        """The SQL statements, split as Atlas splits them."""
        return split_statements(self.text)

    @property
    def transactional(self) -> bool:
        """False for a file that opens with `-- atlas:txmode none` (as CREATE INDEX CONCURRENTLY needs)."""
        head = _FILE_DIRECTIVES.match(self.text)
        return not (head and re.search(r"^(?:--|#) *atlas:txmode +none\b", head.group(), re.MULTILINE))


def migrations_directory() -> Path:
    """Return the migration directory: in the installed package `delegator_schema`, or in `atlas/` of a checkout.

    Raises:
        SchemaError: neither exists.
    """
    package = Path(delegator_schema.__file__).resolve().parent
    for candidate in (package / "migrations", package.parents[1] / "atlas" / "migrations"):
        if (candidate / SUM_FILE).is_file():
            return candidate
    raise SchemaError(f"no migrations beside {package}: install temporal-delegator again")


def read_migrations(directory: Path) -> tuple[MigrationFile, ...]:
    """Read the migrations of `directory` in order.

    Raises:
        SchemaError: a file was changed, added or removed since `atlas.sum` was written.
    """
    try:
        declared = (directory / SUM_FILE).read_text(encoding="utf-8").splitlines()
        contents = [(path.name, path.read_bytes()) for path in sorted(directory.glob("*.sql"), key=lambda p: p.name)]
    except OSError as error:
        raise SchemaError(f"can't read the migrations in {directory}: {error.strerror}; {_HINT}") from None
    hashes = _file_hashes(contents)
    actual = _render(hashes).splitlines()
    if declared != actual:
        wrong = sorted({line.split(" ")[0] for line in set(declared[1:]) ^ set(actual[1:])})
        raise SchemaError(f"checksum mismatch in {directory}: {', '.join(wrong) or SUM_FILE}; {_HINT}")
    texts = dict(contents)
    return tuple(MigrationFile(name, texts[name].decode(), value) for name, value in hashes)


def _file_hashes(contents: list[tuple[str, bytes]]) -> list[tuple[str, str]]:
    running = hashlib.sha256()
    hashes = []
    for name, data in contents:
        running.update(name.encode())
        directive = _DIRECTIVE.match(data.decode())
        if directive and directive.groups() == ("sum", "ignore"):
            continue
        running.update(data)
        hashes.append((name, base64.b64encode(running.digest()).decode()))
    return hashes


def _render(hashes: list[tuple[str, str]]) -> str:
    total = hashlib.sha256("".join(name + value for name, value in hashes).encode()).digest()
    lines = [f"{name} h1:{value}\n" for name, value in hashes]
    return f"h1:{base64.b64encode(total).decode()}\n{''.join(lines)}"
