"""docker/Dockerfile: linted, pinned, without root, and made of files that exist."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
from pathlib import Path

from delegator.runtime.modules import load_handlers, load_workflows
from tests.unit.docker.compose import FOLDER, ROOT

TEXT = (FOLDER / "Dockerfile").read_text()
LINES = [line for line in TEXT.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def test_hadolint() -> None:
    """hadolint has nothing to say."""
    said = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", FOLDER / "Dockerfile"],
        capture_output=True,
        text=True,
    )
    assert (said.stdout, said.returncode) == ("", 0), said.stderr


def test_copied_files_exist() -> None:
    """What is copied from the checkout exists, and .dockerignore lets it through."""
    let_through = [
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    copied = [line.split()[1:] for line in LINES if line.startswith("COPY ") and "--from=" not in line]
    sources = [word for words in copied for word in words[:-1] if not word.startswith("--")]
    assert len(sources) > 8
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) or source.startswith(f"{pattern}/") for pattern in let_through), (
            source
        )


def test_base_images_are_pinned() -> None:
    images = re.findall(r"^ARG \w+_IMAGE=(\S+)$", TEXT, re.MULTILINE)
    assert len(images) == 2
    for image in images:
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+-[\w-]+", image), image
    used = {line.split()[1] for line in LINES if line.startswith("FROM ")}
    stages = {line.split()[3] for line in LINES if line.startswith("FROM ")}
    assert used - stages <= {"${ATLAS_IMAGE}", "${PYTHON_IMAGE}"}


def test_stages() -> None:
    """Each target is without root, has labels, and says how its health is asked for."""
    stages: dict[str, list[str]] = {}
    parents: dict[str, str] = {}
    name = ""
    for line in LINES:
        words = line.split()
        if words[0] == "FROM":
            name = words[3]
            stages[name], parents[name] = [], words[1]
        elif name:
            stages[name].append(words[0])
    assert parents["engine"] == parents["loadtest"] == "base"
    assert {"USER", "HEALTHCHECK", "LABEL", "CMD"} <= set(stages["base"])
    assert "USER" not in stages["engine"] + stages["loadtest"]
    (user,) = [line for line in LINES if line.startswith("USER ")]
    assert user == "USER 10001:10001"


def test_everything_is_locked() -> None:
    """pip chooses no version by itself while an image is built."""
    commands = [command for line in LINES for command in re.findall(r"/pip [^&]*", line)]
    assert len(commands) == 4
    for command in commands:
        assert "--require-hashes --requirement requirements/" in command or "--no-deps /tmp/dist/" in command


def test_no_parser_is_pulled() -> None:
    """A `# syntax=` line would pull an image before the first step: the file needs none."""
    assert "# syntax" not in TEXT


def test_sample(monkeypatch) -> None:
    """The workers of compose.yaml find the sample's handler and workflow."""
    monkeypatch.syspath_prepend(FOLDER / "app")
    monkeypatch.delitem(sys.modules, "tasks", raising=False)
    assert load_handlers(["tasks"], "orders")
    found = load_workflows(["workflows"])
    assert [workflow.__name__ for workflow in found.workflows] == ["PriceOrders"]
    for module in ("tasks", "workflows"):
        monkeypatch.delitem(sys.modules, module)
