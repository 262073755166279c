"""How outcomes are made, encoded, and brought to whoever waits for them."""
