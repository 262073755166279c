from __future__ import annotations

import subprocess
import sys

_EXAMPLE = """
import logging
import warnings
from examples.command import claim, run_example

async def main():
    logging.getLogger("delegator").warning("late")
    warnings.warn("late")
    claim(True, "it works")
    logging.getLogger("delegator").error("broken")

run_example(main())
"""


def test_no_warnings() -> None:
    """What a busy machine makes the engine and the SDK warn of does not come between an example's lines; errors do."""
    ended = subprocess.run([sys.executable, "-c", _EXAMPLE], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "proven: it works\n")
    assert "broken" in ended.stderr
    assert "late" not in ended.stderr
