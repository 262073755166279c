CREATE SCHEMA IF NOT EXISTS outbox_shop;

CREATE TABLE IF NOT EXISTS outbox_shop.users (
    id text PRIMARY KEY,
    email text NOT NULL
);

-- Whatever program deletes a user: the workflow starts if and when the program's transaction commits.
CREATE OR REPLACE FUNCTION outbox_shop.user_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM delegator_start_workflow(
        'DeleteUser', 'delete-user-' || OLD.id, 'outbox', jsonb_build_array(OLD.id, OLD.email)
    );
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER user_deleted AFTER DELETE ON outbox_shop.users
FOR EACH ROW EXECUTE FUNCTION outbox_shop.user_deleted();
