"""Which of the SDK's tests use an activity."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.selection import files_with_activities, uses_activity

HELPERS = """
async def run_one(client): await client.execute_activity("x")
def nothing(): pass
"""
TESTS = """
from tests.helpers import run_one, nothing as other

@workflow.defn
class Calls:
    async def run(self): await workflow.execute_activity("x")

@workflow.defn
class Waits: ...

@pytest.fixture
def calling(): return Calls

async def test_by_class(client): await client.execute_workflow(Calls.run)
async def test_by_helper(client): await run_one(client)
async def test_by_fixture(calling): ...
async def test_waits(client): await client.execute_workflow(Waits.run)
async def test_by_other_helper(client): other()
class TestClass:
    async def test_method(self): Calls
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "tests/sub").mkdir(parents=True)
    (tmp_path / "tests/helpers").mkdir()
    (tmp_path / "tests/helpers/__init__.py").write_text(HELPERS)
    (tmp_path / "tests/sub/test_it.py").write_text(TESTS)
    (tmp_path / "tests/sub/test_none.py").write_text("def test_none(): ...\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "uses"),
    [
        ("test_by_class", True),
        ("test_by_helper", True),
        ("test_by_fixture", True),
        ("TestClass.test_method", True),
        ("test_waits", False),
        ("test_by_other_helper", False),
    ],
)
def test_what_a_test_refers_to(source: Path, name: str, uses: bool) -> None:
    """A test uses an activity if anything that it refers to does, in its module or in an imported one."""
    assert uses_activity(source, source / "tests/sub/test_it.py", name) is uses


def test_files_of_a_source(source: Path) -> None:
    """The test files are those that use activities, or stand beside a module that does."""
    assert files_with_activities(source) == ["tests/sub/test_it.py"]
    (source / "tests/sub/workflows.py").write_text("@activity.defn\ndef act(): ...\n")
    assert files_with_activities(source) == ["tests/sub/test_it.py", "tests/sub/test_none.py"]
