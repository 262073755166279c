"""What task groups raise, as one error."""

from __future__ import annotations

import pytest

from delegator.errors import DatabaseError, SchemaError
from delegator.runtime.exception_groups import expected_error, first_error, unwrapped


def test_first_error() -> None:
    deep = DatabaseError("deep")
    assert first_error(ExceptionGroup("outer", [ExceptionGroup("inner", [deep, ValueError()]), TypeError()])) is deep
    assert first_error(deep) is deep


def test_expected_error() -> None:
    """A defect among them keeps the group whole, with its traceback."""
    ours = SchemaError("ours")
    assert expected_error(ExceptionGroup("all", [ExceptionGroup("inner", [ours]), DatabaseError("also")])) is ours
    assert expected_error(ExceptionGroup("mixed", [ours, ZeroDivisionError()])) is None


def test_unwrapped() -> None:
    with pytest.raises(DatabaseError, match="^down$"), unwrapped():
        raise ExceptionGroup("tasks", [DatabaseError("down")])
    with pytest.raises(ValueError, match="^plain$"), unwrapped():
        raise ValueError("plain")
