"""The database's side of the engine: tables, publication, replica identity and roles, declared in one place."""
