"""`http-worker --via URL`: a pool that gets its jobs from a gateway over HTTP. It needs no access to the database."""
