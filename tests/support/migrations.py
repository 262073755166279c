"""The checksums of a migration directory, as `atlas migrate hash` writes them."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path


def write_sum(directory: Path) -> None:
    """Write `atlas.sum` for the migrations that a directory holds."""
    running, entries = sha256(), []
    for path in sorted(directory.glob("*.sql"), key=lambda path: path.name):
        running.update(path.name.encode())
        if not re.match(r"-- *atlas:sum +ignore", path.read_text()):
            running.update(path.read_bytes())
            entries.append((path.name, b64encode(running.digest()).decode()))
    total = sha256("".join(name + value for name, value in entries).encode()).digest()
    lines = [f"h1:{b64encode(total).decode()}", *(f"{name} h1:{value}" for name, value in entries)]
    (directory / "atlas.sum").write_text("\n".join(lines) + "\n")
