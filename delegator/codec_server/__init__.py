"""The codec server: decodes payloads for Temporal's UI and CLI, with the data converter's payload codec.

The protocol is that of Temporal's remote codecs: https://docs.temporal.io/production-deployment/data-encryption
"""
