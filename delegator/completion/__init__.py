"""Makes outcomes and delivers them to the workflows that wait for them."""
