"""Reading migrations, and refusing changed ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from delegator.errors import SchemaError
from delegator.migrate.directory import SUM_FILE, MigrationFile, migrations_directory, read_migrations

ROOT = Path(__file__).parents[3]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(migrations_directory(), tmp_path / "migrations"))


def test_read_migrations(directory: Path) -> None:
    """The checkout's migrations match Atlas's sum, and are read in order."""
    files = read_migrations(directory)
    assert [file.description for file in files][:4] == ["tables", "storage", "roles", "publication"]
    assert [file.name for file in files] == sorted(file.name for file in files)


def test_a_changed_file_is_named(directory: Path) -> None:
    path = next(directory.glob("*_roles.sql"))
    path.write_text(path.read_text() + "DROP TABLE custom_task_queue;\n")

    with pytest.raises(SchemaError, match=rf"checksum mismatch in .*{path.name}"):
        read_migrations(directory)


def test_an_added_file_is_named(directory: Path) -> None:
    (directory / "29990101000000_more.sql").write_text("SELECT 1;\n")

    with pytest.raises(SchemaError, match="checksum mismatch in .*: 29990101000000_more.sql;"):
        read_migrations(directory)


def test_a_removed_file_is_named(directory: Path) -> None:
    path = max(directory.glob("*.sql"))
    path.unlink()

    with pytest.raises(SchemaError, match=f"checksum mismatch in .*: {path.name};"):
        read_migrations(directory)


def test_wrong_total(directory: Path) -> None:
    """A sum file whose total does not match is refused."""
    lines = (directory / SUM_FILE).read_text().splitlines()
    (directory / SUM_FILE).write_text("\n".join(["h1:" + "A" * 43 + "=", *lines[1:]]) + "\n")

    with pytest.raises(SchemaError, match=r"checksum mismatch in .*: atlas.sum;"):
        read_migrations(directory)


def test_missing_sum(tmp_path: Path) -> None:
    """A directory without a sum file is refused."""
    with pytest.raises(SchemaError, match="can't read the migrations"):
        read_migrations(tmp_path)


def test_ignored_file(directory: Path) -> None:
    """A file that Atlas leaves out of its sum is not a migration."""
    (directory / "29990101000000_ignored.sql").write_text("-- atlas:sum ignore\nSELECT 1;\n")

    assert not any("ignored" in file.name for file in read_migrations(directory))


@pytest.mark.parametrize(
    ("text", "transactional"),
    [
        ("SELECT 1;", True),
        ("-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY i ON t (a);", False),
        ("-- about\n-- atlas:txmode none\n\nSELECT 1;", False),
        ("-- atlas:txmode none\nSELECT 1;", True),
        ("SELECT 1;\n-- atlas:txmode none\n\nSELECT 2;", True),
    ],
)
def test_transaction_mode(text: str, transactional: bool) -> None:
    assert MigrationFile("1_a.sql", text, "").transactional is transactional


def test_version_and_description() -> None:
    file = MigrationFile("20260101000000_add_a_column.sql", "", "")

    assert (file.version, file.description) == ("20260101000000", "add_a_column")


def test_editable_install() -> None:
    """An editable install uses the migrations of the checkout."""
    assert migrations_directory() == ROOT / "atlas" / "migrations"
