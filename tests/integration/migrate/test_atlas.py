"""Agreement with the real Atlas CLI, in both directions."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from delegator.config import Settings
from delegator.errors import SchemaError
from delegator.migrate import inspect, migrate
from delegator.migrate.apply import apply_files
from delegator.migrate.database import ATLAS_LOCK, advisory_lock, connect
from delegator.migrate.directory import read_migrations
from delegator.migrate.statements import partial_hashes, split_statements
from tests.conftest import MakeDatabase
from tests.support import write_sum
from tests.support.postgres15 import ROOT, Server15

pytestmark = pytest.mark.atlas


class Project:
    """A copy of what Atlas reads, in which it may write."""

    def __init__(self, atlas: Path, directory: Path, server: Server15) -> None:
        self._atlas = atlas
        self._server = server
        self.directory = directory
        self.migrations = directory / "atlas" / "migrations"
        shutil.copytree(ROOT / "atlas", directory / "atlas")
        shutil.copytree(ROOT / "schema", directory / "schema")

    def run(self, *arguments: str, url: str = "", ok: bool = True) -> str:
        """Run atlas with our atlas.hcl."""
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.directory / "schema"),
            "ATLAS_URL": f"{url}&search_path=public" if url else "",
            "ATLAS_DEV_URL": self._server.dev_url,
        }
        command = [self._atlas, *arguments]
        done = subprocess.run(
            command, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        output = done.stdout + done.stderr
        assert (done.returncode == 0) is ok, output
        return output

    def migrate(self, verb: str, *arguments: str, url: str = "", env: str = "local", ok: bool = True) -> str:
        """Run `atlas migrate VERB`."""
        return self.run("migrate", verb, *arguments, "--env", env, "--config", "file://atlas/atlas.hcl", url=url, ok=ok)

    def keep_only(self, number: int) -> None:
        """Leave the first migrations."""
        for path in sorted(self.migrations.glob("*.sql"))[number:]:
            path.unlink()
        write_sum(self.migrations)

    @property
    def names(self) -> tuple[str, ...]:
        """The migrations' names."""
        return tuple(file.name for file in read_migrations(self.migrations))


@pytest.fixture
def project(atlas: Path, server15: Server15, tmp_path: Path) -> Project:
    return Project(atlas, tmp_path, server15)


@pytest.fixture(autouse=True)
def no_other_atlas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELEGATOR_ATLAS", "off")


def revisions(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        query = """SELECT version, description, type, applied, total, error, error_stmt, hash, partial_hashes
            FROM delegator_revisions.atlas_schema_revisions ORDER BY version"""
        return connection.execute(query).fetchall()


def columns(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        query = """SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
            FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
            WHERE attrelid = 'delegator_revisions.atlas_schema_revisions'::regclass AND attnum > 0 ORDER BY 1"""
        return connection.execute(query).fetchall()


def test_the_directory_is_valid(project: Project) -> None:
    assert project.migrate("validate") == ""


def test_models_match_migrations(project: Project) -> None:
    """The models declare nothing that the migrations lack."""
    # Twice: the first replay leaves publication and roles on the dev database.
    for _ in range(2):
        assert "no changes to be made" in project.migrate("diff", "nothing")
    assert project.names == tuple(file.name for file in read_migrations(ROOT / "atlas" / "migrations"))


def test_a_changed_model_is_noticed(project: Project) -> None:
    columns = project.directory / "schema" / "delegator_schema" / "columns.py"
    declared = 'Column("cancel_requested"'
    extra = 'Column("extra", "integer", "For this test.", nullable=True),'
    columns.write_text(columns.read_text().replace(declared, f"{extra} {declared}", 1))

    project.migrate("diff", "extra")

    (added,) = project.migrations.glob("*_extra.sql")
    assert 'ALTER TABLE "custom_task_queue" ADD COLUMN "extra" integer NULL' in added.read_text()


def test_community_build(project: Project, server15: Server15) -> None:
    """The commands for Atlas's community build find no difference either."""
    url = server15.database()
    project.migrate("apply", url=url)
    provider = [Path(sys.executable).with_name("atlas-provider-sqlalchemy"), "--path", "schema/delegator_schema"]
    done = subprocess.run([*provider, "--dialect", "postgresql"], cwd=ROOT, capture_output=True, text=True, check=True)
    (project.directory / "schema.sql").write_text(done.stdout)

    to = ("--to", "file://schema.sql", "--dev-url", server15.dev_url)
    planned = project.run("migrate", "diff", "nothing", "--dir", "file://atlas/migrations", *to)
    compared = project.run("schema", "diff", "--from", f"{url}&search_path=public", *to)

    assert "no changes to be made" in planned
    assert "no changes to be made" in compared


async def test_atlas_accepts_our_revisions(project: Project, server15: Server15) -> None:
    """Atlas finds nothing to do after our migration, and both leave the same revisions and columns."""
    ours, theirs = server15.database(), server15.database()

    report = await migrate(Settings.load(database_url=ours, queues="default,video"))
    project.migrate("apply", url=theirs, env="deploy")

    assert report.applied == project.names
    assert "Pending Files:   0" in project.migrate("status", url=ours)
    assert "No migration files to execute" in project.migrate("apply", url=ours)
    assert revisions(ours) == revisions(theirs)
    assert columns(ours) == columns(theirs)


async def test_we_accept_atlas_revisions(project: Project, server15: Server15) -> None:
    """`delegator migrate` finds nothing to do after Atlas's migration."""
    url = server15.database()
    project.migrate("apply", url=url)

    settings = Settings.load(database_url=url)
    assert (await inspect(settings)).up_to_date
    assert (await migrate(settings)).up_to_date


@pytest.mark.parametrize("number", [1, 3])
async def test_mixed_migrations(project: Project, server15: Server15, number: int) -> None:
    """Atlas applies the files that we have not applied yet, and we apply those that Atlas has not."""
    names = project.names
    begun_by_us, begun_by_atlas = server15.database(), server15.database()
    whole = shutil.copytree(project.migrations, project.directory / "whole")
    project.keep_only(number)
    project.migrate("apply", url=begun_by_atlas)
    async with connect(Settings.load(database_url=begun_by_us)) as connection:
        await apply_files(connection, read_migrations(project.migrations))
    shutil.copytree(whole, project.migrations, dirs_exist_ok=True)

    assert (await migrate(Settings.load(database_url=begun_by_atlas))).applied == names[number:]
    assert f"{len(names) - number} migrations" in project.migrate("apply", url=begun_by_us)

    assert revisions(begun_by_us) == revisions(begun_by_atlas)
    assert (await inspect(Settings.load(database_url=begun_by_us))).up_to_date


async def test_migrate_with_atlas(project: Project, server15: Server15, atlas: Path) -> None:
    """`migrate` lets Atlas apply the migrations when it has its program."""
    url = server15.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id int)")
    settings = Settings.load(database_url=url, queues="default,video")

    report = await migrate(settings, atlas=atlas)

    assert (report.applied, report.created_queues, report.atlas) == (project.names, ("video",), atlas)
    assert (await migrate(settings, atlas=atlas)).up_to_date
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT DISTINCT operator_version FROM delegator_revisions.atlas_schema_revisions")
        assert found.fetchall() == [("Atlas CLI v0.13.1",)]


async def test_atlas_error(project: Project, server15: Server15, atlas: Path) -> None:
    """Atlas's error about a bad file is raised as one line."""
    settings = Settings.load(database_url=server15.database())
    (project.migrations / "29990101000000_bad.sql").write_text("SELECT 1 / 0;\n")
    write_sum(project.migrations)

    with pytest.raises(SchemaError, match=r"migrate apply` failed: .*division by zero") as caught:
        await migrate(settings, directory=project.migrations, atlas=atlas)
    assert "\n" not in str(caught.value)


async def test_old_atlas(make_database: MakeDatabase, atlas: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An Atlas that is too old for the server is not used, and a warning says so."""
    database = await make_database(migrated=False)

    with caplog.at_level(logging.WARNING):
        report = await migrate(database.settings, atlas=atlas)

    assert report.applied
    assert report.atlas is None
    assert "atlas_too_old" in caplog.text


async def test_same_lock(project: Project, server15: Server15) -> None:
    """Atlas waits for the lock that our migration takes."""
    url = server15.database()
    async with connect(Settings.load(database_url=url)) as connection, advisory_lock(connection, ATLAS_LOCK):
        output = project.migrate("apply", "--lock-timeout", "300ms", url=url, ok=False)
    assert "lock" in output


HARD = r"""-- About the file.

-- About; the first.
CREATE TABLE a (b text DEFAULT 'x;''y', "c;d" int); -- after; it
/* a; block */
CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $body$
BEGIN
  -- it's; here
  RETURN 1; END $body$;
INSERT INTO a VALUES ('$$;'), ('# no; comment'); INSERT INTO a (b) VALUES (E'it\'s;');
CREATE RULE r AS ON DELETE TO a DO INSTEAD (SELECT 1; SELECT 2);
COMMENT ON TABLE a IS '-- ; ('
"""


async def test_same_statements(project: Project, server15: Server15) -> None:
    """Atlas and we split files into the same statements, with the same hashes."""
    for path in project.migrations.iterdir():
        path.unlink()
    files = {"1_hard.sql": HARD, "2_left_out.sql": "-- atlas:sum ignore\nSELECT 1;\n", "3_ü.sql": "SELECT 'ü';\n\n"}
    for name, text in files.items():
        (project.migrations / name).write_text(text)
    project.run("migrate", "hash", "--dir", "file://atlas/migrations")
    assert [file.name for file in read_migrations(project.migrations)] == ["1_hard.sql", "3_ü.sql"]

    (project.migrations / "2_left_out.sql").unlink()
    project.run("migrate", "hash", "--dir", "file://atlas/migrations")
    url = server15.database()
    project.migrate("apply", url=url)

    recorded = {row[0]: (row[4], row[8]) for row in revisions(url)}
    for version, name in (("1", "1_hard.sql"), ("3", "3_ü.sql")):
        statements = split_statements(files[name])
        assert recorded[version] == (len(statements), partial_hashes(statements))
