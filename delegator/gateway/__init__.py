"""The gateway: jobs for workers in any language, over HTTP. `docs/reference/http-protocol.md` is the protocol."""
