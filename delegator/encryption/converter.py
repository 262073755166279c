"""Data converters that encrypt."""

from __future__ import annotations

import dataclasses

from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes

from delegator.encryption.codec import EncryptionCodec
from delegator.encryption.keys import EncryptionKeys
from delegator.errors import ConfigurationError


def encrypted(converter: DataConverter = DataConverter.default, keys: EncryptionKeys | None = None) -> DataConverter:
    """Return a data converter that encrypts what another one has converted, messages and stack traces of failures too.

    Args:
        converter: converts values; its payload codec and its failure converter must be Temporal's default ones.
        keys: the first one encrypts, all of them decrypt; None: those of the settings.

    Raises:
        ConfigurationError: the converter has a payload codec or a failure converter already, or the keys are wrong.
    """
    if converter.payload_codec is not None:
        raise ConfigurationError("the data converter has a payload codec already; one that calls both is yours to make")
    failures = DataConverter.default.failure_converter_class
    if converter.failure_converter_class not in (failures, DefaultFailureConverterWithEncodedAttributes):
        raise ConfigurationError(
            "the data converter has a failure converter already; give that one to `dataclasses.replace` afterwards"
        )
    return dataclasses.replace(
        converter,
        payload_codec=EncryptionCodec(EncryptionKeys.load() if keys is None else keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def data_converter() -> DataConverter:
    """Return Temporal's default data converter with encryption, for `DELEGATOR_DATA_CONVERTER`.

    Raises:
        ConfigurationError: the keys are missing or wrong. The message names the setting.
    """
    return encrypted()
