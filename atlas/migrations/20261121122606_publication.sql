-- Written by: python -m schema.ddl publication
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = 'delegator_publication') THEN
    ALTER PUBLICATION "delegator_publication" SET (publish = 'insert');
  ELSE
    CREATE PUBLICATION "delegator_publication" WITH (publish = 'insert');
  END IF;
  IF NOT EXISTS (
    SELECT FROM pg_catalog.pg_publication_rel AS published
    JOIN pg_catalog.pg_publication AS publication ON publication.oid = published.prpubid
    WHERE publication.pubname = 'delegator_publication' AND published.prrelid = '"custom_task_queue"'::regclass
  ) THEN
    ALTER PUBLICATION "delegator_publication" ADD TABLE "custom_task_queue";
  END IF;
END
$$;
