"""Data converters of the SDK's tests, under names that DELEGATOR_DATA_CONVERTER can hold."""

from __future__ import annotations

from temporalio.converter import DataConverter

_converters: list[DataConverter] = []


def name_of(converter: DataConverter) -> str | None:
    """Return the setting's value that means a data converter; None: it is the default one."""
    if converter is DataConverter.default:
        return None
    for index, known in enumerate(_converters):
        if known is converter:
            return f"{__name__}:converter_{index}"
    _converters.append(converter)
    return f"{__name__}:converter_{len(_converters) - 1}"


def __getattr__(name: str) -> DataConverter:
    prefix, _, index = name.rpartition("_")
    if prefix == "converter" and index.isdigit() and int(index) < len(_converters):
        return _converters[int(index)]
    raise AttributeError(name)
