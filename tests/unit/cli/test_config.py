"""`delegator config` and the completion of shells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(sys.executable).parent


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAMS / command[0], *command[1:]],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_origins(tmp_path: Path) -> None:
    """Each value has its origin, and no secret is printed."""
    profile = tmp_path / "temporal.toml"
    profile.write_text('[profile.default]\nnamespace = "orders"\naddress = "far:7233"\napi_key = "sesame"\n')
    ended = run(
        "delegator",
        "config",
        "--json",
        DELEGATOR_DATABASE_URL="postgresql://app:sesame@db:5433/orders?sslpassword=sesame",
        DELEGATOR_STREAM_TOKEN="sesame",
        DELEGATOR_STREAM_URL="http://me:sesame@stream:7376",
        DELEGATOR_LEASE="20",
        DELEGATOR_UNHEARD_OF="1",
        TEMPORAL_CONFIG_FILE=str(profile),
        TEMPORAL_ADDRESS="near:7233",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "sesame" not in ended.stdout
    found = json.loads(ended.stdout)
    ignored = [name for name in found["ignored"] if not name.startswith("DELEGATOR_TEST_")]  # this run's own
    assert ignored == ["DELEGATOR_UNHEARD_OF"]
    values = {one["name"]: (one["value"], one["origin"]) for one in found["settings"]}
    assert values["DELEGATOR_LEASE"] == ("PT20S", "environment")
    assert values["DELEGATOR_QUEUES"] == ("default", "default")
    assert values["DELEGATOR_STREAM_TOKEN"] == ("***", "environment")
    assert values["DELEGATOR_STREAM_URL"] == ("http://me:***@stream:7376", "environment")
    assert values["TEMPORAL_ADDRESS"] == ("near:7233", "environment")
    assert values["TEMPORAL_NAMESPACE"] == ("orders", str(profile))
    assert values["TEMPORAL_API_KEY"] == ("***", str(profile))
    assert "user=app" in values["DELEGATOR_DATABASE_URL"][0]
    assert "password=***" in values["DELEGATOR_DATABASE_URL"][0]


@pytest.mark.parametrize(
    ("program", "typed", "wanted"),
    [
        ("delegator", "delegator jo", "jobs"),
        ("delegator", "delegator jobs li", "list"),
        ("http-worker", "http-worker --imp", "--import"),
    ],
)
def test_completion(program: str, typed: str, wanted: str) -> None:
    """A shell completes commands and options of each program."""
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    words = str(len(typed.split()) - 1)
    ended = run(program, **{variable: "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": words})
    assert wanted in ended.stdout.split(), ended
