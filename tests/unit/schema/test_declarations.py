"""The declarations beside the models, and what is written from them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from delegator_schema.ddl import literal, publication_sql, queue_sql, quote, sections
from delegator_schema.models import metadata, queued_job
from delegator_schema.publications import PUBLICATION
from delegator_schema.queues import queue_publication, queue_slot, queue_table
from delegator_schema.roles import APP, STREAM
from delegator_schema.storage import storage_of

from delegator.migrate.directory import migrations_directory, read_migrations

ROOT = Path(__file__).parents[3]


def test_atlas_provider() -> None:
    """Atlas's provider loads the models with the arguments that atlas.hcl has."""
    provider = Path(sys.executable).with_name("atlas-provider-sqlalchemy")
    command = [provider, "--path", "schema/delegator_schema", "--dialect", "postgresql"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    for table in metadata.tables:
        assert done.stdout.count(f"CREATE TABLE {table} ") == 1
    for argument in ("atlas-provider-sqlalchemy", "--path", "schema/delegator_schema", "--dialect", "postgresql"):
        assert f'"{argument}"' in (ROOT / "atlas" / "atlas.hcl").read_text()


@pytest.mark.parametrize("section", ["storage", "roles", "publication"])
def test_newest_migrations(section: str) -> None:
    """The newest migration of each section holds what is declared now."""
    newest = [file for file in read_migrations(migrations_directory()) if file.description == section][-1]

    assert newest.text.endswith(sections()[section]), f"add a migration: .ci/migration declared {section}"


def test_publication() -> None:
    """The publication has inserts only, and of them the job_id and the fencing token only."""
    assert PUBLICATION.publish == ("insert",)
    assert PUBLICATION.columns == ("job_id", "fencing_token")
    assert set(PUBLICATION.columns) <= set(queued_job.columns.keys())
    assert 'ADD TABLE "custom_task_queue_video" ("job_id", "fencing_token");' in publication_sql(
        "custom_task_queue_video"
    )


def test_the_stream_role_only_reads_queues() -> None:
    assert STREAM.privileges("custom_task_queue_video") == ("SELECT",)
    assert STREAM.privileges("custom_task_lease") == ()
    assert APP.privileges("custom_task_lease") == ("SELECT", "INSERT", "UPDATE", "DELETE")


def test_fillfactor() -> None:
    """The table of every queue has room for heap-only updates."""
    assert dict(storage_of("custom_task_queue").parameters)["fillfactor"] == "50"
    assert storage_of("custom_task_queue_video") == storage_of("custom_task_queue")
    assert storage_of("custom_task_dead_letter").parameters == ()


def test_additional_queue() -> None:
    """An additional queue has the columns, settings and grants of the default one."""
    sql = queue_sql("video")

    assert 'CREATE TABLE IF NOT EXISTS "custom_task_queue_video" (LIKE "custom_task_queue" INCLUDING ALL);' in sql
    assert "fillfactor = 50" in sql
    assert 'GRANT SELECT ON TABLE "custom_task_queue_video" TO "delegator_stream";' in sql


def test_names_of_queues() -> None:
    """Each queue has a table, a publication and a slot of its own."""
    assert [queue_table(queue) for queue in ("default", "video")] == ["custom_task_queue", "custom_task_queue_video"]
    assert [queue_publication(queue, PUBLICATION.name) for queue in ("default", "video")] == [
        "delegator_publication",
        "delegator_publication_video",
    ]
    assert [queue_slot(queue, "mine") for queue in ("default", "video")] == ["mine", "mine_video"]
    for name in (queue_publication, queue_slot):
        with pytest.raises(ValueError, match="is not a queue name"):
            name("Bad Name", "mine")


def test_a_queue_name_cannot_carry_sql() -> None:
    with pytest.raises(ValueError, match="is not a queue name"):
        queue_sql('x"; DROP TABLE y; --')
    assert quote('a"b') == '"a""b"'
    assert literal("a'b") == "'a''b'"
