"""Declares what the engine has in the database: tables, publications, replica identity and roles."""
