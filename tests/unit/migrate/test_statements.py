"""Splitting a migration where Atlas splits it. `test_atlas.py` compares the counts and hashes with the real binary."""

from __future__ import annotations

import pytest

from delegator.errors import SchemaError
from delegator.migrate.statements import partial_hashes, split_statements


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", ()),
        (" \n-- only a comment\n", ()),
        ("SELECT 1;", ("SELECT 1;",)),
        ("SELECT 1;\nSELECT 2", ("SELECT 1;", "SELECT 2")),
        ("-- a; b\nSELECT 1;\n-- c\n", ("SELECT 1;",)),
        ("/* a; */ SELECT 1 /* b; */;", ("SELECT 1 /* b; */;",)),
        ("SELECT 1 -- one;\n, 2;", ("SELECT 1 -- one;\n, 2;",)),
        ("SELECT ';', \"a;b\";SELECT 2;", ("SELECT ';', \"a;b\";", "SELECT 2;")),
        ("SELECT 'it''s;';", ("SELECT 'it''s;';",)),
        (r"SELECT 'a\';b';", (r"SELECT 'a\';b';",)),
        ("DO $$ BEGIN a; b; END $$;SELECT 1;", ("DO $$ BEGIN a; b; END $$;", "SELECT 1;")),
        ("DO $x$ $$;$$ ; $x$;", ("DO $x$ $$;$$ ; $x$;",)),
        ("SELECT $1;SELECT 2;", ("SELECT $1;", "SELECT 2;")),
        ("CREATE RULE r AS ON INSERT TO t DO (a; b);", ("CREATE RULE r AS ON INSERT TO t DO (a; b);",)),
    ],
)
def test_split(text: str, statements: tuple[str, ...]) -> None:
    assert split_statements(text) == statements


def test_an_open_quote_is_refused() -> None:
    with pytest.raises(SchemaError, match="unclosed '"):
        split_statements("SELECT 'a; SELECT 2;")


def test_delimiter() -> None:
    """A file with a delimiter of its own is refused."""
    with pytest.raises(SchemaError, match="atlas:delimiter"):
        split_statements("-- atlas:delimiter \\n\\n\nSELECT 1")


def test_partial_hashes() -> None:
    """Each partial hash covers all statements up to its own."""
    first, second = partial_hashes(("a;", "b;"))

    assert first == partial_hashes(("a;",))[0]
    assert second != partial_hashes(("b;",))[0]
    assert first.startswith("h1:")
