-- Written by: python -m delegator_schema.ddl roles
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'delegator_app') THEN
    CREATE ROLE "delegator_app" NOLOGIN;
  END IF;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
DO $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO "delegator_app"', current_schema());
END
$$;
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'delegator_enqueuer') THEN
    CREATE ROLE "delegator_enqueuer" NOLOGIN;
  END IF;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
DO $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO "delegator_enqueuer"', current_schema());
END
$$;
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'delegator_worker') THEN
    CREATE ROLE "delegator_worker" NOLOGIN;
  END IF;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
DO $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO "delegator_worker"', current_schema());
END
$$;
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'delegator_maintenance') THEN
    CREATE ROLE "delegator_maintenance" NOLOGIN;
  END IF;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
DO $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO "delegator_maintenance"', current_schema());
END
$$;
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'delegator_stream') THEN
    CREATE ROLE "delegator_stream" NOLOGIN;
  END IF;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
DO $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO "delegator_stream"', current_schema());
END
$$;
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'delegator_enqueue') THEN
    CREATE ROLE "delegator_enqueue" NOLOGIN;
  END IF;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
DO $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO "delegator_enqueue"', current_schema());
END
$$;
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_queue" TO "delegator_app";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_queue" TO "delegator_enqueuer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_queue" TO "delegator_worker";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_queue" TO "delegator_maintenance";
GRANT SELECT ON TABLE "custom_task_queue" TO "delegator_stream";
GRANT SELECT, INSERT ON TABLE "custom_task_queue" TO "delegator_enqueue";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_dead_letter" TO "delegator_app";
GRANT INSERT ON TABLE "custom_task_dead_letter" TO "delegator_enqueuer";
GRANT INSERT ON TABLE "custom_task_dead_letter" TO "delegator_worker";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_dead_letter" TO "delegator_maintenance";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_lease" TO "delegator_app";
GRANT SELECT, INSERT, UPDATE ON TABLE "custom_task_lease" TO "delegator_enqueuer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_lease" TO "delegator_worker";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_lease" TO "delegator_maintenance";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_pause" TO "delegator_app";
GRANT SELECT ON TABLE "custom_task_pause" TO "delegator_enqueuer";
GRANT SELECT ON TABLE "custom_task_pause" TO "delegator_worker";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_pause" TO "delegator_maintenance";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_rate" TO "delegator_app";
GRANT SELECT, INSERT, UPDATE ON TABLE "custom_task_rate" TO "delegator_worker";
GRANT SELECT, DELETE ON TABLE "custom_task_rate" TO "delegator_maintenance";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_outbox" TO "delegator_app";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_outbox" TO "delegator_maintenance";
GRANT SELECT, INSERT ON TABLE "custom_task_outbox" TO "delegator_enqueue";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_unique" TO "delegator_app";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "custom_task_unique" TO "delegator_maintenance";
GRANT SELECT, INSERT, UPDATE ON TABLE "custom_task_unique" TO "delegator_enqueue";
