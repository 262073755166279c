"""Values as PostgreSQL really writes them, under settings that would change their text form."""

from __future__ import annotations

from tests.support import Database

from .client import execute, publish_every_column, relay

COLUMNS: dict[str, tuple[str, str, object]] = {
    "small": ("int2", "-7", -7),
    "big": ("int8", "9007199254740993", 9007199254740993),
    "ratio": ("float8", "0.1::float8 + 0.2", 0.30000000000000004),
    "single": ("float4", "1", 1.0),
    "nan": ("float8", "'NaN'", "NaN"),
    "infinite": ("float8", "'-Infinity'", "-Infinity"),
    "exact": ("numeric", "12345678901234567890.12345", "12345678901234567890.12345"),
    "exact_nan": ("numeric", "'NaN'", "NaN"),
    "doc": ("jsonb", """'{"a": [1, {"b": null}], "u": "\\u00e9"}'""", {"a": [1, {"b": None}], "u": "é"}),
    "raw": ("json", "'[1,\n2]'", [1, 2]),
    "ident": ("uuid", "'7B6C2D1E-0000-4000-8000-000000000001'", "7b6c2d1e-0000-4000-8000-000000000001"),
    "words": ("text", "E'tab\\t \"quoted\" \\\\ ü 😀'", 'tab\t "quoted" \\ ü 😀'),
    "short": ("varchar(9)", "'abc'", "abc"),
    "padded": ("char(5)", "'ab'", "ab   "),
    "blob": ("bytea", "'\\x00ff10'", "\\x00ff10"),
    "empty": ("bytea", "''", "\\x"),
    "yes": ("bool", "true", True),
    "moment": ("timestamptz", "'2024-01-01 00:00:00.123+00'", "2024-01-01T00:00:00.123000Z"),
    "elsewhere": ("timestamptz", "'2024-01-01 00:00:00+05:30'", "2023-12-31T18:30:00.000000Z"),
    "forever": ("timestamptz", "'infinity'", "infinity"),
    "local": ("timestamp", "'2024-01-01 00:00:00.5'", "2024-01-01T00:00:00.500000"),
    "day": ("date", "'2024-02-29'", "2024-02-29"),
    "clock": ("time", "'12:34:56.789'", "12:34:56.789"),
    "span": ("interval", "'1 day 2 hours'", "1 day 02:00:00"),
    "ints": ("int4[]", "'{1,NULL,3}'", [1, None, 3]),
    "matrix": ("int4[]", "'{{1,2},{3,4}}'", [[1, 2], [3, 4]]),
    "bounds": ("int4[]", "'[5:6]={1,2}'", [1, 2]),
    "texts": ("text[]", """ARRAY['a', 'b c', 'd"e', 'f\\g', 'NULL', NULL, '', '{x,y}']""",
              ["a", "b c", 'd"e', "f\\g", "NULL", None, "", "{x,y}"]),
    "bools": ("bool[]", "'{t,f}'", [True, False]),
    "blobs": ("bytea[]", "ARRAY['\\x01'::bytea, NULL]", ["\\x01", None]),
    "docs": ("jsonb[]", """ARRAY['{"a": 1}'::jsonb, NULL]""", [{"a": 1}, None]),
    "moments": ("timestamptz[]", "ARRAY['2024-01-01 00:00:00+00'::timestamptz]", ["2024-01-01T00:00:00.000000Z"]),
    "idents": ("uuid[]", "ARRAY['7b6c2d1e-0000-4000-8000-000000000001'::uuid]",
               ["7b6c2d1e-0000-4000-8000-000000000001"]),
    "exacts": ("numeric[]", "'{1.10}'", ["1.10"]),
    "feeling": ("mood", "'ok'", "ok"),
    "feelings": ("mood[]", "'{ok,NULL}'", ["ok", None]),
    "nothing": ("text", "NULL", None),
    "no_array": ("int4[]", "NULL", None),
    "address": ("inet", "'10.0.0.1/8'", "10.0.0.1/8"),
}  # fmt: skip


async def test_values_are_rendered_as_sequin_does(database: Database) -> None:
    await execute(database, "CREATE TYPE mood AS ENUM ('ok', 'sad')")
    for name, (kind, _, _) in COLUMNS.items():
        await execute(database, f"ALTER TABLE custom_task_queue ADD COLUMN v_{name} {kind}")
    for setting in ("bytea_output = 'escape'", "datestyle = 'German'", "timezone = 'Asia/Tokyo'",
                    "intervalstyle = 'iso_8601'", "extra_float_digits = 0"):  # fmt: skip
        await execute(database, f"ALTER DATABASE {database.name} SET {setting}")
    async with relay(database, publication=await publish_every_column(database)) as (_, puller):
        names = ", ".join(f"v_{name}" for name in COLUMNS)
        values = ", ".join(f"({value})::{kind}" for kind, value, _ in COLUMNS.values())
        await execute(
            database, f"INSERT INTO custom_task_queue (job_id, job_type, {names}) VALUES ('a', 't', {values})"
        )
        (message,) = await puller.receive()
    record = message["data"]["record"]
    expected = {f"v_{name}": value for name, (_, _, value) in COLUMNS.items()}
    assert {name: record[name] for name in expected} == expected
    assert {name: type(record[name]) for name in expected} == {name: type(value) for name, value in expected.items()}


async def test_a_new_column_appears_with_the_next_row(database: Database) -> None:
    async with relay(database, publication=await publish_every_column(database)) as (_, puller):
        await execute(database, "INSERT INTO custom_task_queue (job_id, job_type) VALUES ('a', 't')")
        await puller.drain()
        await execute(database, "ALTER TABLE custom_task_queue ADD COLUMN fresh int DEFAULT 7")
        await execute(database, "INSERT INTO custom_task_queue (job_id, job_type) VALUES ('b', 't')")
        (message,) = await puller.receive()
        assert message["data"]["record"]["fresh"] == 7


async def test_a_change_of_the_published_columns_is_followed(database: Database) -> None:
    async with relay(database) as (_, puller):
        for job, columns, expected in (
            ("a", " (job_id, fencing_token)", {"job_id", "fencing_token"}),
            ("b", "", None),
            ("c", " (fencing_token, job_type, job_id)", {"job_id", "fencing_token", "job_type"}),
            ("d", " (fencing_token)", {"fencing_token"}),
        ):
            await execute(database, f"ALTER PUBLICATION delegator_publication SET TABLE custom_task_queue{columns}")
            await execute(database, "INSERT INTO custom_task_queue (job_id, job_type) VALUES (%s, 't')", job)
            (message,) = await puller.receive()
            await puller.ack([message])
            record = message["data"]["record"]
            ((token,),) = await execute(database, "SELECT fencing_token FROM custom_task_queue WHERE job_id = %s", job)
            assert record["fencing_token"] == token
            assert message["data"]["metadata"]["record_pks"] == ([] if job == "d" else [job])
            assert record.get("job_id", job) == job
            if expected is not None:
                assert set(record) == expected
            else:
                assert record["job_type"] == "t" and len(record) > 20
