-- Written by hand: Atlas does not compare the text of a check.
-- Modify "custom_task_lease" table
ALTER TABLE "custom_task_lease" DROP CONSTRAINT "custom_task_lease_role", ADD CONSTRAINT "custom_task_lease_role" CHECK (role = ANY (ARRAY['worker'::text, 'enqueuer'::text, 'maintenance'::text]));
