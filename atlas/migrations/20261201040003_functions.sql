-- Written by: python -m delegator_schema.ddl functions
CREATE OR REPLACE FUNCTION delegator_varint(number integer) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE
    WHEN number < 128 THEN set_byte(decode('00', 'hex'), 0, number)
    WHEN number < 16384 THEN set_byte(set_byte(decode('0000', 'hex'), 0, number & 127 | 128), 1, number >> 7)
    ELSE set_byte(set_byte(set_byte(set_byte(decode('00000000', 'hex'), 0, number & 127 | 128),
         1, number >> 7 & 127 | 128), 2, number >> 14 & 127 | 128), 3, number >> 21)
  END
$$;
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION delegator_varint(integer) SET search_path = %I, pg_temp', current_schema());
END
$$;
CREATE OR REPLACE FUNCTION delegator_payloads(args jsonb) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
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
  IF length(encoded) > 2097152 THEN
    RAISE EXCEPTION 'the arguments have % bytes, more than 2097152', length(encoded)
      USING ERRCODE = 'program_limit_exceeded';
  END IF;
  RETURN nullif(encoded, '');
END
$$;
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION delegator_payloads(jsonb) SET search_path = %I, pg_temp', current_schema());
END
$$;
CREATE OR REPLACE FUNCTION delegator_outbox_write(
  operation text, namespace text, workflow_id text, workflow_type text, task_queue text, name text, args jsonb,
  signal_args jsonb, options jsonb, key text
) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  IF coalesce($3, '') = '' OR $4 = '' OR $5 = '' OR $6 = '' OR $1 LIKE '%start' AND ($4 IS NULL OR $5 IS NULL)
     OR $1 LIKE 'signal%' AND $6 IS NULL THEN
    RAISE EXCEPTION 'a workflow id, a workflow type, a task queue or a signal name is missing'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  INSERT INTO custom_task_outbox AS o
    (operation, namespace, workflow_id, workflow_type, task_queue, name, input, signal_input, options, request_id, key)
  VALUES ($1, $2, $3, $4, $5, $6, delegator_payloads($7), delegator_payloads($8), $9,
    coalesce(left(encode(sha256(convert_to(concat_ws(chr(31), $1, coalesce($2, ''), $3) || chr(31) || $10, 'UTF8')),
                         'hex'), 32)::uuid, gen_random_uuid()), $10)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF current_setting('delegator.outbox_notify', true) IS DISTINCT FROM 'off' THEN
    PERFORM pg_notify('delegator_outbox', '');
  END IF;
  RETURN true;
END
$$;
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION delegator_outbox_write(text, text, text, text, text, text, jsonb, jsonb, jsonb, text) SET search_path = %I, pg_temp', current_schema());
END
$$;
CREATE OR REPLACE FUNCTION delegator_start_workflow(
  workflow_type text, id text, task_queue text, args jsonb DEFAULT '[]', key text DEFAULT NULL,
  namespace text DEFAULT NULL, options jsonb DEFAULT NULL
) RETURNS boolean
LANGUAGE sql AS $$ SELECT delegator_outbox_write('start', $6, $2, $1, $3, NULL, $4, NULL, $7, $5) $$;
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION delegator_start_workflow(text, text, text, jsonb, text, text, jsonb) SET search_path = %I, pg_temp', current_schema());
END
$$;
CREATE OR REPLACE FUNCTION delegator_signal_workflow(
  id text, signal text, args jsonb DEFAULT '[]', key text DEFAULT NULL, namespace text DEFAULT NULL
) RETURNS boolean
LANGUAGE sql AS $$ SELECT delegator_outbox_write('signal', $5, $1, NULL, NULL, $2, $3, NULL, NULL, $4) $$;
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION delegator_signal_workflow(text, text, jsonb, text, text) SET search_path = %I, pg_temp', current_schema());
END
$$;
CREATE OR REPLACE FUNCTION delegator_signal_with_start_workflow(
  workflow_type text, id text, task_queue text, args jsonb, signal text, signal_args jsonb DEFAULT '[]',
  key text DEFAULT NULL, namespace text DEFAULT NULL, options jsonb DEFAULT NULL
) RETURNS boolean
LANGUAGE sql AS $$ SELECT delegator_outbox_write('signal_with_start', $8, $2, $1, $3, $5, $4, $6, $9, $7) $$;
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION delegator_signal_with_start_workflow(text, text, text, jsonb, text, jsonb, text, text, jsonb) SET search_path = %I, pg_temp', current_schema());
END
$$;
CREATE OR REPLACE FUNCTION delegator_cancel_workflow(id text, key text DEFAULT NULL, namespace text DEFAULT NULL) RETURNS boolean
LANGUAGE sql AS $$ SELECT delegator_outbox_write('cancel', $3, $1, NULL, NULL, NULL, NULL, NULL, NULL, $2) $$;
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION delegator_cancel_workflow(text, text, text) SET search_path = %I, pg_temp', current_schema());
END
$$;
CREATE OR REPLACE FUNCTION delegator_enqueue(
  job_type text, args jsonb DEFAULT '[]', job_id text DEFAULT NULL, queue text DEFAULT 'default',
  delay interval DEFAULT NULL
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  inserted bigint;
  delay_ms bigint := greatest(extract(epoch FROM $5) * 1000, 0)::bigint;
BEGIN
  IF coalesce($1, '') = '' OR $3 = '' OR length(convert_to($3, 'UTF8')) > 500 THEN
    RAISE EXCEPTION 'the job type is missing, or the job id has not 1 to 500 bytes'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF $4 IS NULL OR $4 !~ '^[a-z][a-z0-9_]{0,39}$' THEN
    RAISE EXCEPTION 'not the name of a queue' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  EXECUTE format(
    'INSERT INTO %I (job_id, job_type, input, options, retry_at)
     VALUES (coalesce($1, gen_random_uuid()::text), $2, $3, $4, $5) ON CONFLICT (job_id) DO NOTHING',
    CASE WHEN $4 = 'default' THEN 'custom_task_queue' ELSE 'custom_task_queue_' || $4 END)
  USING $3, $1, delegator_payloads($2),
    CASE WHEN delay_ms > 0 THEN jsonb_build_object('start_delay_ms', delay_ms) END,
    CASE WHEN delay_ms > 0 THEN clock_timestamp() + $5 END;
  GET DIAGNOSTICS inserted = ROW_COUNT;
  RETURN inserted > 0;
END
$$;
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION delegator_enqueue(text, jsonb, text, text, interval) SET search_path = %I, pg_temp', current_schema());
END
$$;
