"""`delegator types --json-schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.operating.commands import delegator

MODULE = """
from __future__ import annotations
from dataclasses import dataclass
from decimal import Decimal
from delegator import contract, delegated
from pydantic import BaseModel

@dataclass
class Order:
    number: int

class Receipt(BaseModel):
    total: Decimal

@contract(queue="money")
def charge(order: Order, currency: str = "EUR") -> {result}: ...
"""
PYDANTIC = "temporalio.contrib.pydantic:pydantic_data_converter"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = f"shop_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(MODULE.replace("{result}", request.param))
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.parametrize("module", ["Order"], indirect=True)
async def test_schemas(module: str) -> None:
    """Each declared type is there with its queue, its named arguments and its result."""
    ran = await delegator("types", "--json-schema", "--import", module)
    assert ran.code == 0, ran.err
    (charge,) = json.loads(ran.out)["types"]
    assert (charge["type"], charge["queue"]) == ("charge", "money")
    assert [one["title"] for one in charge["arguments"]["prefixItems"]] == ["order", "currency"]
    assert charge["arguments"]["minItems"] == 1
    assert charge["result"]["$defs"]["Order"]["required"] == ["number"]


@pytest.mark.parametrize("module", ["Receipt"], indirect=True)
async def test_converter(module: str) -> None:
    """The schema is that of the data converter's JSON: the default one can't convert pydantic's models."""
    ran = await delegator("types", "--json-schema", "--import", module, DELEGATOR_DATA_CONVERTER=PYDANTIC)
    (charge,) = json.loads(ran.out)["types"]
    assert charge["result"]["$defs"]["Receipt"]["properties"]["total"]["anyOf"]
    ran = await delegator("types", "--json-schema", "--import", module)
    assert (ran.code, ran.out) == (2, "")
    assert "charge: Temporal's default data converter can't convert Receipt (result): " in ran.err
    assert PYDANTIC in ran.err


@pytest.mark.parametrize(
    "arguments", [["--import", "x"], ["--json-schema"], ["--json-schema", "list"], ["--import", "x", "list"]]
)
async def test_wrong_use(arguments: list[str]) -> None:
    """The option goes with a module, and without a command."""
    ran = await delegator("types", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "--json-schema" in ran.err
