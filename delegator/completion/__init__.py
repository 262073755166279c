"""How outcomes are made, sealed, and brought to whoever waits for them."""
