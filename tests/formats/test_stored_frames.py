"""Every stored frame still says what it said, and every current version has its stored files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from delegator.errors import WireError
from delegator.wire.frames import VERSION, head, pack
from tests.formats.folders import CURRENT_FRAMES, CURRENT_ROWS, folder, stored, version_of
from tests.formats.frames import FRAMES
from tests.formats.histories import CONVERTERS, HISTORIES
from tests.formats.record import refusal

ADVICE = "run `python -m tests.formats.record` and see docs/decisions/formats.md"


@pytest.mark.parametrize(
    ("version", "content", "names"),
    [
        (CURRENT_FRAMES, "frames", [f"{name}.bin" for name in FRAMES]),
        (CURRENT_FRAMES, "histories", [f"{name}.json" for name in HISTORIES]),
        (CURRENT_ROWS, "rows", [f"{name}.sql" for name in CONVERTERS]),
    ],
)
def test_current_version_is_stored(version: int, content: str, names: list[str]):
    """Who raises a version records its files."""
    found = sorted(path.name for path in folder(version, content).glob("*"))
    assert found == sorted(names), f"{content} of version {version}: {ADVICE}"


@pytest.mark.parametrize("path", stored("frames"), ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_stored_frame(path: Path):
    frame = path.read_bytes()
    start = 4 + int.from_bytes(frame[:4], "big")
    assert orjson.loads(frame[4:start])["version"] == version_of(path)
    expected = FRAMES[path.stem]
    assert expected.unpack(frame) == expected.value


@pytest.mark.parametrize("name", FRAMES)
def test_writing_has_not_changed(name: str):
    """Frames are written as the stored ones of this version: a change of the form needs a new version."""
    frame = FRAMES[name]
    assert frame.pack(frame.value) == (folder(CURRENT_FRAMES, "frames") / f"{name}.bin").read_bytes(), ADVICE


def test_later_frame_is_refused():
    later = pack({"version": VERSION + 1}, [])
    with pytest.raises(WireError, match=f"version {VERSION + 1}: this release reads up to {VERSION}; update it"):
        head(later)


def test_recording_another_version_is_refused():
    assert refusal([]) is None
    assert refusal([f"v{CURRENT_FRAMES}"]) is None
    command = [sys.executable, "-m", "tests.formats.record", "v999"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode == 1
    assert "v999: only the current version" in ended.stderr
