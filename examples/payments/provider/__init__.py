"""The mock of what stands outside: a payment provider and an SMS gateway."""
