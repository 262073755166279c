"""Checks workers of any language against a gateway: `python -m delegator.gateway.conformance URL -- CMD`."""
