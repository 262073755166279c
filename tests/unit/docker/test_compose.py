"""docker/compose.yaml names only what exists: files, settings, options, images, services."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from docs_reference.cli import programs
from docs_reference.settings import variables

from delegator.runtime.temporal_client import load_data_converter
from delegator.runtime.temporal_settings import temporal_settings
from tests.unit.docker.compose import (
    FILE,
    FOLDER,
    PROFILES,
    ROOT,
    env_files,
    filled_in,
    is_ours,
    services,
    write_secrets,
)

READ_BY_OTHERS = {
    # docker-library/postgres: docker-entrypoint.sh. The passwords of roles are read by postgres/10-databases.sh.
    "postgres": {"POSTGRES_USER", "POSTGRES_PASSWORD"},
    # temporal-sql-tool's options (go.temporal.io/server, tools/sql/main.go) and the Temporal CLI's.
    "temporalio/admin-tools": {
        *("SQL_PLUGIN", "SQL_HOST", "SQL_PORT", "SQL_USER", "SQL_PASSWORD"),
        *("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"),
    },
    # go.temporal.io/server, common/config/config_template_embedded.yaml, and the image's entrypoint.sh.
    "temporalio/server": {
        *("DB", "DB_PORT", "DBNAME", "VISIBILITY_DBNAME", "POSTGRES_SEEDS", "POSTGRES_USER", "POSTGRES_PWD"),
        *("NUM_HISTORY_SHARDS", "BIND_ON_IP", "PROMETHEUS_ENDPOINT", "DYNAMIC_CONFIG_FILE_PATH", "LOG_LEVEL"),
    },
    # temporalio/ui-server, docker/config_template.yaml.
    "temporalio/ui": {
        *("TEMPORAL_ADDRESS", "TEMPORAL_DEFAULT_NAMESPACE"),
        *("TEMPORAL_CODEC_ENDPOINT", "TEMPORAL_CODEC_INCLUDE_CREDENTIALS"),
    },
    # Sequin v0.14.6, config/runtime.exs; the rest stands in the sequin.yml that it reads.
    "sequin/sequin": {
        *("PG_HOSTNAME", "PG_PORT", "PG_DATABASE", "PG_USERNAME", "PG_PASSWORD", "PG_POOL_SIZE", "REDIS_URL"),
        *("CONFIG_FILE_PATH", "SECRET_KEY_BASE", "VAULT_KEY", "LOG_LEVEL"),
        *("CRASH_REPORTING_DISABLED", "SEQUIN_TELEMETRY_DISABLED"),
    },
    # Grafana reads GF_<section>_<key> of its configuration.
    "grafana/grafana": {
        *("GF_ANALYTICS_CHECK_FOR_UPDATES", "GF_ANALYTICS_REPORTING_ENABLED"),
        *("GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH", "GF_USERS_ALLOW_SIGN_UP", "GF_SECURITY_ADMIN_PASSWORD"),
    },
}
"""The environment variables that the programs of other images read, and where that is written."""


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return write_secrets(tmp_path_factory.mktemp("docker") / "secrets")


def test_profiles() -> None:
    assert {profile for service in services().values() for profile in service["profiles"]} == set(PROFILES)
    assert "temporal" not in services("beside")
    assert "sequin" in services("full")
    assert "relay" not in services("full")
    assert {"relay"} == {name for name in services("relay") if name in ("relay", "sequin", "redis")}


@pytest.mark.parametrize("profile", PROFILES)
def test_dependencies(profile: str) -> None:
    """What a service waits for is in its profile, or may be left out; each condition can come true."""
    there = services(profile)
    for name, service in there.items():
        for other, need in service.get("depends_on", {}).items():
            assert other in there or need.get("required") is False, f"{profile}: {name} waits for {other}"
            if other in there and need["condition"] == "service_healthy":
                assert "test" in there[other]["healthcheck"], f"{name} waits for the health of {other}"
            if other in there and need["condition"] == "service_completed_successfully":
                assert str(there[other]["restart"]).startswith("on-failure"), f"{name} waits for the end of {other}"


@pytest.mark.parametrize("profile", PROFILES)
def test_ports(profile: str) -> None:
    """Two services never publish one port of the host, and publish to its loopback address only."""
    published = [
        tuple(port.rsplit(":", 1)[0].split(":"))
        for service in services(profile).values()
        for port in service.get("ports", [])
    ]
    assert {address for address, _ in published} == {"127.0.0.1"}
    assert len(published) == len(set(published)), published


@pytest.mark.parametrize("profile", PROFILES)
def test_one_stream(profile: str) -> None:
    """Workers ask `stream`: exactly one service of a profile has the name."""
    named = [
        name
        for name, service in services(profile).items()
        if isinstance(service.get("networks"), dict)
        and "stream" in (service["networks"].get("default") or {}).get("aliases", [])
    ]
    assert len(named) == 1


def test_images_are_pinned() -> None:
    for name, service in services().items():
        image, _, tag = str(service["image"]).rpartition(":")
        assert image, f"{name}: {service['image']} has no tag"
        if not is_ours(service):
            assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-\w+)?", tag), f"{name}: {tag} is no fixed version"


def test_mounts() -> None:
    """What is mounted exists, is not writable in the container, and keeps the mode that git knows."""
    declared = set(yaml.safe_load(FILE.read_text())["volumes"])
    seen = 0
    for name, service in services().items():
        for mount in service.get("volumes", []):
            source, target, *mode = mount.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (FOLDER / source).exists(), f"{name}: {source}"
                assert mode == ["ro"], f"{name}: {mount}"
                if (FOLDER / source).suffix == ".sh":
                    assert (FOLDER / source).stat().st_mode & 0o111, f"{source} can't be run"
                seen += 1
            else:
                assert source in declared, f"{name}: {source}"
    assert seen > 5


def test_environment(secrets: dict[str, dict[str, str]]) -> None:
    """A program reads each variable that its container gets."""
    for name, service in services().items():
        known = _known(service)
        given = set(service.get("environment") or {})
        for file, required in env_files(service).items():
            if required:
                given |= set(secrets[Path(file).name])
        assert given <= known, f"{name}: nobody reads {sorted(given - known)}"


def _known(service: dict[str, object]) -> set[str]:
    if is_ours(service):
        return {*variables(), "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"}
    image = str(service["image"]).rpartition(":")[0]
    known = set(READ_BY_OTHERS.get(image, set()))
    for mount in service.get("volumes") or []:  # type: ignore[attr-defined]
        source = FOLDER / str(mount).split(":")[0]
        if source.suffix == ".sh":
            known |= set(re.findall(r"\b[A-Z][A-Z_]{2,}\b", source.read_text()))
    if image == "sequin/sequin":
        from delegator.config import Settings
        from delegator.migrate.sequin import render_config

        known |= set(re.findall(r"\$\{(\w+)", render_config(Settings.load(queues="default"))))
    return known


def test_settings_are_valid(secrets: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Our programs accept the values of their containers."""
    from delegator.config import Settings

    checked = 0
    for service in services().values():
        if not is_ours(service):
            continue
        with monkeypatch.context() as patch:
            given = dict(service.get("environment") or {})
            for file, required in env_files(service).items():
                given |= secrets[Path(file).name] if required else {}
            for variable, value in given.items():
                patch.setenv(variable, str(value))
            settings = Settings.load()
            temporal_settings(given)
            assert settings.queues == (("default", "orders") if "DELEGATOR_QUEUES" in given else ("default",))
            if settings.data_converter is not None:
                assert load_data_converter(settings.data_converter).payload_codec is not None
            checked += 1
    assert checked >= 6


def test_commands() -> None:
    """Our commands exist and have the options that they are given."""
    known = {words: {name for one in command.params for name in one.opts} for words, command in programs()}
    seen = set()
    for name, service in services().items():
        if is_ours(service):
            words = service["command"]
            if words[0] == "python":
                assert (ROOT / words[2] / "__main__.py").exists()
                continue
            command = " ".join(words[:2]) if words[0] == "delegator" else words[0]
            assert {word for word in words if word.startswith("--")} <= known[command], name
            seen.add(command)
    assert seen >= {"delegator migrate", "delegator relay", "delegator serve", "delegator worker", "http-worker"}


def test_hardening() -> None:
    """Each container has limits, gains no privileges, and ours can write to /tmp only."""
    for name, service in services().items():
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service
        assert "container_name" not in service, f"{name} could not be scaled"
        if is_ours(service):
            assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"]), name
        if service["restart"] == "unless-stopped" and name != "temporal-ui":
            assert "test" in service["healthcheck"], f"{name} has no health check"


def test_postgres_is_safe() -> None:
    """PostgreSQL streams, keeps a bounded amount of WAL for a stream that is away, and a commit is durable."""
    settings = dict(word.split("=", 1) for word in services()["postgres"]["command"] if "=" in word)
    assert settings["wal_level"] == "logical"
    assert "max_slot_wal_keep_size" in settings
    assert not {"fsync", "synchronous_commit", "full_page_writes"} & set(settings)


@pytest.mark.parametrize("profile", PROFILES)
def test_config(profile: str, tmp_path: Path) -> None:
    """Compose itself accepts the file."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("no `docker compose` on this machine")
    folder = tmp_path / "docker"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("secrets"))
    write_secrets(folder / "secrets")
    command = ["docker", "compose", "--file", folder / "compose.yaml", "--profile", profile, "config", "--quiet"]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stderr == ""


def test_codec_server() -> None:
    """Temporal's UI asks the codec server where it is published, which lets the published address of the UI ask."""
    there = services()
    published = [port.removeprefix("127.0.0.1:") for port in there["codec-server"]["ports"]]
    command = there["codec-server"]["command"]
    (port,) = [one.split(":")[0] for one in published]
    assert there["temporal-ui"]["environment"]["TEMPORAL_CODEC_ENDPOINT"] == f"http://127.0.0.1:{port}"
    (ui,) = there["temporal-ui"]["ports"]
    assert command[command.index("--origin") + 1] == f"http://{ui.rsplit(':', 1)[0]}"
    assert set(env_files(there["codec-server"])) == {"secrets/codec-server.env"}


def test_example_settings_are_used() -> None:
    """Each variable of .env.example is one that compose.yaml fills in, with the default that it shows."""
    text = FILE.read_text()
    for name, value in re.findall(r"^#(\w+)=(.*)$", (FOLDER / ".env.example").read_text(), re.MULTILINE):
        assert f"${{{name}:-" in text, name
        if "example.com" not in value:
            assert value == filled_in(next(iter(re.findall(rf"\$\{{{name}:-[^}}]*\}}", text)))), name
