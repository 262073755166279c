-- Written by: python -m delegator_schema.ddl storage
ALTER TABLE "custom_task_queue" SET (autovacuum_analyze_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, fillfactor = 50, vacuum_truncate = false);
ALTER TABLE "custom_task_queue" REPLICA IDENTITY DEFAULT;
ALTER TABLE "custom_task_lease" SET (autovacuum_vacuum_scale_factor = 0.02, fillfactor = 50);
ALTER TABLE "custom_task_outbox" SET (autovacuum_analyze_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, vacuum_truncate = false);
