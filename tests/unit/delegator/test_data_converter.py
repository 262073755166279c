"""`DELEGATOR_DATA_CONVERTER` names the data converter. A wrong one is refused with the name of the setting."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from temporalio.converter import DataConverter

from delegator.errors import ConfigurationError
from delegator.runtime.temporal_client import load_data_converter

CODE = """
from temporalio.converter import DataConverter

converter = DataConverter.default
number = 3

def made():
    return converter

def price(article):
    return 3

def broken():
    raise ValueError("no key")

def returns_number():
    return 3

async def later():
    return converter
"""


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_converters.py").write_text(CODE)
    (tmp_path / "broken_converters.py").write_text("raise RuntimeError('two\\nlines')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made_converters", raising=False)
    importlib.invalidate_caches()


@pytest.mark.parametrize("spec", [None, "made_converters:converter", "made_converters:made"])
def test_right(spec: str | None) -> None:
    assert load_data_converter(spec) is DataConverter.default


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("made_converters", "write it like package.module:attribute"),
        ("made_converters:", "write it like package.module:attribute"),
        (":converter", "write it like package.module:attribute"),
        ("nosuch:converter", "No module named 'nosuch'"),
        ("made_converters:nosuch", "has no attribute 'nosuch'"),
        ("broken_converters:x", "importing the module raised RuntimeError: two lines"),
        ("made_converters:number", "neither a temporalio.converter.DataConverter nor a function"),
        ("made_converters:later", "neither a temporalio.converter.DataConverter nor a function"),
        (
            "made_converters:price",
            "called without arguments, and must return a temporalio.converter.DataConverter: missing a",
        ),
        ("made_converters:broken", "the function raised ValueError: no key (/"),
        (
            "made_converters:returns_number",
            "it returned a value of the type int, not a temporalio.converter.DataConverter",
        ),
    ],
)
def test_wrong(spec: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_data_converter(spec)
    message = str(refused.value)
    assert message.startswith(f"DELEGATOR_DATA_CONVERTER {spec}: ")
    assert said in message
    assert "\n" not in message
