"""How outcomes are made and brought to the workflows that wait for them."""
