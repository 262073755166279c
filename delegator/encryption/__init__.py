"""A payload codec that encrypts with AES-256-GCM, its keys, and a data converter that uses them.

Name `delegator.encryption:data_converter` in `DELEGATOR_DATA_CONVERTER`, or give `encrypted(converter)` to a client.

The form of an encrypted payload is that of the encryption samples of Temporal's SDKs, so that workers in other
languages can share it: `encoding` is `binary/encrypted`, `encryption-key-id` names the key, and the data is a nonce of
12 bytes, the encrypted serialized `Payload`, and the tag of 16 bytes.
See https://github.com/temporalio/samples-python/tree/main/encryption
"""

from delegator.encryption.codec import EncryptionCodec
from delegator.encryption.converter import data_converter, encrypted
from delegator.encryption.keys import EncryptionKey, EncryptionKeys

__all__ = ["EncryptionCodec", "EncryptionKey", "EncryptionKeys", "data_converter", "encrypted"]

for _name in __all__:
    # Tracebacks, logs and help() then show public objects under the name that users import.
    globals()[_name].__module__ = __name__
del _name
