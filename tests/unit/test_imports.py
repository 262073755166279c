"""Processes load only the modules they need, because each costs start time and memory."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["http_workers.pool", "http_workers.cli", "delegator.cli.serve", "delegator.cli.relay", "loadtest.worker"]
)
def test_no_sqlalchemy(module: str) -> None:
    """A process that does not plan migrations does not load SQLAlchemy."""
    program = f"import sys, {module}; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
