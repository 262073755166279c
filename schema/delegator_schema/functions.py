"""The SQL functions with which triggers and other languages use the outbox.

They run with the caller's privileges, in the schema of the tables, whatever the caller's search_path is.
"""

import re
from dataclasses import dataclass

from delegator_schema.columns import OUTBOX_TABLE
from delegator_schema.outbox import MAX_INPUT_BYTES, OUTBOX_CHANNEL
from delegator_schema.queues import BASE_TABLE, DEFAULT_QUEUE

PREFIX = "delegator_"
"""Begins the names of the functions."""
_DEFAULT = re.compile(r"(\w+) (\w+) DEFAULT ('[^']*'|NULL)")


@dataclass(frozen=True, kw_only=True)
class Function:
    """An SQL function."""

    name: str
    """Its name."""
    arguments: str
    """The arguments with their names, types and defaults."""
    returns: str
    """The type of its result."""
    language: str
    """The language of its body."""
    properties: tuple[str, ...] = ()
    """What a caller may rely on, in SQL's words."""
    body: str
    """What it does."""
    is_public: bool = True
    """Whether applications call it. Others are parts of such functions."""

    @property
    def signature(self) -> str:
        """Its name with the types of its arguments, as `ALTER FUNCTION` names it."""
        types = (argument.split()[1] for argument in self.arguments.split(","))
        return f"{self.name}({', '.join(types)})"

    @property
    def catalog_arguments(self) -> str:
        """The arguments as `pg_get_function_arguments` writes them."""
        return _DEFAULT.sub(r"\1 \2 DEFAULT \3::\2", " ".join(self.arguments.split()))

    @property
    def definition(self) -> str:
        """`CREATE OR REPLACE FUNCTION` without the first words."""
        properties = "".join(f" {one}" for one in self.properties)
        return (
            f"{self.name}({self.arguments}) RETURNS {self.returns}\n"
            f"LANGUAGE {self.language}{properties} AS $${self.body}$$"
        )


_VARINT = Function(
    name="delegator_varint",
    arguments="number integer",
    returns="bytea",
    language="sql",
    properties=("IMMUTABLE", "STRICT", "PARALLEL SAFE"),
    body="""
  SELECT CASE
    WHEN number < 128 THEN set_byte(decode('00', 'hex'), 0, number)
    WHEN number < 16384 THEN set_byte(set_byte(decode('0000', 'hex'), 0, number & 127 | 128), 1, number >> 7)
    ELSE set_byte(set_byte(set_byte(set_byte(decode('00000000', 'hex'), 0, number & 127 | 128),
         1, number >> 7 & 127 | 128), 2, number >> 14 & 127 | 128), 3, number >> 21)
  END
""",
    is_public=False,
)
# Field 1 of `Payloads` is a payload. Its field 1 is the metadata `encoding: json/plain`, and its field 2 the data.
_PAYLOADS = Function(
    name="delegator_payloads",
    arguments="args jsonb",
    returns="bytea",
    language="plpgsql",
    properties=("IMMUTABLE", "PARALLEL SAFE"),
    body=f"""
DECLARE
  encoded bytea := '';
  argument jsonb;
  body bytea;
BEGIN
  IF args IS NULL THEN
    RETURN NULL;
  END IF;
  IF jsonb_typeof(args) <> 'array' THEN
    RAISE EXCEPTION 'the arguments must be a JSON array'
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Write jsonb_build_array(...).';
  END IF;
  FOR argument IN SELECT value FROM jsonb_array_elements(args) WITH ORDINALITY ORDER BY ordinality LOOP
    body := convert_to(argument::text, 'UTF8');
    body := decode('0a160a08656e636f64696e67120a6a736f6e2f706c61696e12', 'hex')
            || delegator_varint(length(body)) || body;
    encoded := encoded || decode('0a', 'hex') || delegator_varint(length(body)) || body;
  END LOOP;
  IF length(encoded) > {MAX_INPUT_BYTES} THEN
    RAISE EXCEPTION 'the arguments have % bytes, more than {MAX_INPUT_BYTES}', length(encoded)
      USING ERRCODE = 'program_limit_exceeded';
  END IF;
  RETURN nullif(encoded, '');
END
""",
    is_public=False,
)
# `DO NOTHING` also waits for a transaction that has inserted the same key and has not ended yet.
_WRITE = Function(
    name="delegator_outbox_write",
    arguments="""
  operation text, namespace text, workflow_id text, workflow_type text, task_queue text, name text, args jsonb,
  signal_args jsonb, options jsonb, key text
""",
    returns="boolean",
    language="plpgsql",
    body=f"""
BEGIN
  IF coalesce($3, '') = '' OR $4 = '' OR $5 = '' OR $6 = '' OR $1 LIKE '%start' AND ($4 IS NULL OR $5 IS NULL)
     OR $1 LIKE 'signal%' AND $6 IS NULL THEN
    RAISE EXCEPTION 'a workflow id, a workflow type, a task queue or a signal name is missing'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  INSERT INTO {OUTBOX_TABLE} AS o
    (operation, namespace, workflow_id, workflow_type, task_queue, name, input, signal_input, options, request_id, key)
  VALUES ($1, $2, $3, $4, $5, $6, delegator_payloads($7), delegator_payloads($8), $9,
    coalesce(left(encode(sha256(convert_to(concat_ws(chr(31), $1, coalesce($2, ''), $3) || chr(31) || $10, 'UTF8')),
                         'hex'), 32)::uuid, gen_random_uuid()), $10)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF current_setting('delegator.outbox_notify', true) IS DISTINCT FROM 'off' THEN
    PERFORM pg_notify('{OUTBOX_CHANNEL}', '');
  END IF;
  RETURN true;
END
""",
    is_public=False,
)
_START = Function(
    name="delegator_start_workflow",
    arguments="""
  workflow_type text, id text, task_queue text, args jsonb DEFAULT '[]', key text DEFAULT NULL,
  namespace text DEFAULT NULL, options jsonb DEFAULT NULL
""",
    returns="boolean",
    language="sql",
    body=" SELECT delegator_outbox_write('start', $6, $2, $1, $3, NULL, $4, NULL, $7, $5) ",
)
_SIGNAL = Function(
    name="delegator_signal_workflow",
    arguments="""
  id text, signal text, args jsonb DEFAULT '[]', key text DEFAULT NULL, namespace text DEFAULT NULL
""",
    returns="boolean",
    language="sql",
    body=" SELECT delegator_outbox_write('signal', $5, $1, NULL, NULL, $2, $3, NULL, NULL, $4) ",
)
_SIGNAL_WITH_START = Function(
    name="delegator_signal_with_start_workflow",
    arguments="""
  workflow_type text, id text, task_queue text, args jsonb, signal text, signal_args jsonb DEFAULT '[]',
  key text DEFAULT NULL, namespace text DEFAULT NULL, options jsonb DEFAULT NULL
""",
    returns="boolean",
    language="sql",
    body=" SELECT delegator_outbox_write('signal_with_start', $8, $2, $1, $3, $5, $4, $6, $9, $7) ",
)
_CANCEL = Function(
    name="delegator_cancel_workflow",
    arguments="id text, key text DEFAULT NULL, namespace text DEFAULT NULL",
    returns="boolean",
    language="sql",
    body=" SELECT delegator_outbox_write('cancel', $3, $1, NULL, NULL, NULL, NULL, NULL, NULL, $2) ",
)
_ENQUEUE = Function(
    name="delegator_enqueue",
    arguments=f"""
  job_type text, args jsonb DEFAULT '[]', job_id text DEFAULT NULL, queue text DEFAULT '{DEFAULT_QUEUE}',
  delay interval DEFAULT NULL
""",
    returns="boolean",
    language="plpgsql",
    body=f"""
DECLARE
  inserted bigint;
  delay_ms bigint := greatest(extract(epoch FROM $5) * 1000, 0)::bigint;
BEGIN
  IF coalesce($1, '') = '' OR $3 = '' OR length(convert_to($3, 'UTF8')) > 500 THEN
    RAISE EXCEPTION 'the job type is missing, or the job id has not 1 to 500 bytes'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF $4 IS NULL OR $4 !~ '^[a-z][a-z0-9_]{{0,39}}$' THEN
    RAISE EXCEPTION 'not the name of a queue' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  EXECUTE format(
    'INSERT INTO %I (job_id, job_type, input, options, retry_at)
     VALUES (coalesce($1, gen_random_uuid()::text), $2, $3, $4, $5) ON CONFLICT (job_id) DO NOTHING',
    CASE WHEN $4 = '{DEFAULT_QUEUE}' THEN '{BASE_TABLE}' ELSE '{BASE_TABLE}_' || $4 END)
  USING $3, $1, delegator_payloads($2),
    CASE WHEN delay_ms > 0 THEN jsonb_build_object('start_delay_ms', delay_ms) END,
    CASE WHEN delay_ms > 0 THEN clock_timestamp() + $5 END;
  GET DIAGNOSTICS inserted = ROW_COUNT;
  RETURN inserted > 0;
END
""",
)

FUNCTIONS = (_VARINT, _PAYLOADS, _WRITE, _START, _SIGNAL, _SIGNAL_WITH_START, _CANCEL, _ENQUEUE)
"""Every declared function. Each uses only those before it."""


def function_sql(function: Function) -> str:
    """Render a function. It finds tables and functions in the schema in which it is created."""
    return f"""CREATE OR REPLACE FUNCTION {function.definition};
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION {function.signature} SET search_path = %I, pg_temp', current_schema());
END
$$;
"""


def functions_sql() -> str:
    """Render all functions."""
    return "".join(map(function_sql, FUNCTIONS))
