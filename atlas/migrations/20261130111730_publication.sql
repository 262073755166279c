-- Written by: python -m delegator_schema.ddl publication
DO $$
DECLARE
  present text[];
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = 'delegator_publication') THEN
    ALTER PUBLICATION "delegator_publication" SET (publish = 'insert');
  ELSE
    CREATE PUBLICATION "delegator_publication" WITH (publish = 'insert');
  END IF;
  SELECT ARRAY(
    SELECT attribute.attname::text FROM pg_catalog.pg_attribute AS attribute
    WHERE attribute.attrelid = published.prrelid AND attribute.attnum = ANY (published.prattrs)
    ORDER BY attribute.attname
  ) INTO present
  FROM pg_catalog.pg_publication_rel AS published
  JOIN pg_catalog.pg_publication AS publication ON publication.oid = published.prpubid
  WHERE publication.pubname = 'delegator_publication' AND published.prrelid = '"custom_task_queue"'::regclass;
  IF present <> ARRAY['fencing_token', 'job_id'] THEN
    ALTER PUBLICATION "delegator_publication" DROP TABLE "custom_task_queue";
  END IF;
  IF present IS DISTINCT FROM ARRAY['fencing_token', 'job_id'] THEN
    ALTER PUBLICATION "delegator_publication" ADD TABLE "custom_task_queue" ("job_id", "fencing_token");
  END IF;
END
$$;
