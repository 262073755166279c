"""make-secrets, and what keeps its files out of git."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

from delegator_schema.roles import ROLES

from tests.unit.docker.compose import FOLDER, ROOT, env_files, services, write_secrets

PROCESSES = ("serve", "http-worker", "worker", "loadtest", "relay")
ENCRYPTING = ("serve", "http-worker", "worker", "loadtest", "codec-server")
STREAMING = ("http-worker", "loadtest", "relay", "sequin")


def test_written_once(tmp_path: Path) -> None:
    """Only the owner may read the files; a second run changes nothing; two sets have nothing in common."""
    first = write_secrets(tmp_path / "one")
    assert write_secrets(tmp_path / "one") == first
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "one").iterdir()} == {0o600}
    other = write_secrets(tmp_path / "two")
    assert not {value for file in first.values() for value in file.values()} & {
        value for file in other.values() for value in file.values()
    }


def test_files_are_those_of_the_services(tmp_path: Path) -> None:
    written = write_secrets(tmp_path / "secrets")
    wanted = {
        path.removeprefix("secrets/")
        for service in services().values()
        for path, must in env_files(service).items()
        if must
    }
    assert set(written) == wanted


def test_lengths(tmp_path: Path) -> None:
    """Sequin stops without naming what is too short; a value must not hold a `$`, which Compose would fill in."""
    written = write_secrets(tmp_path / "secrets")
    sequin = written["sequin.env"]
    assert len(sequin["SECRET_KEY_BASE"]) >= 64
    assert len(sequin["VAULT_KEY"]) == 44
    assert len(sequin["SEQUIN_ADMIN_PASSWORD"]) >= 8
    assert all(len(value) >= 32 and "$" not in value for file in written.values() for value in file.values())


def test_passwords_agree(tmp_path: Path) -> None:
    """The database gives a role the password with which its program comes."""
    written = write_secrets(tmp_path / "secrets")
    roles = written["postgres.env"]
    for file, role in {**{name: name.replace("-", "_") for name in PROCESSES}, "migrate": "owner"}.items():
        password = roles[f"{role.upper()}_ROLE_PASSWORD"]
        assert f":{password}@" in written[f"{file}.env"]["DELEGATOR_DATABASE_URL"]
    assert written["temporal.env"]["POSTGRES_PWD"] == roles["TEMPORAL_ROLE_PASSWORD"]
    assert written["sequin.env"]["PG_PASSWORD"] == roles["SEQUIN_ROLE_PASSWORD"]
    assert written["sequin.env"]["DELEGATOR_PG_PASSWORD"] == roles["RELAY_ROLE_PASSWORD"]
    assert len({written[f"{name}.env"]["DELEGATOR_ENCRYPTION_KEYS"] for name in ENCRYPTING}) == 1
    assert len({written[f"{name}.env"]["DELEGATOR_STREAM_TOKEN"] for name in STREAMING}) == 1


def test_half_a_set_is_refused(tmp_path: Path) -> None:
    """A file that is missing is not made anew: its passwords would not be those of the data."""
    write_secrets(tmp_path / "secrets")
    (tmp_path / "secrets/relay.env").unlink()
    refused = subprocess.run([FOLDER / "make-secrets", tmp_path / "secrets"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "DATA=delete" in refused.stderr
    assert not (tmp_path / "secrets/relay.env").exists()


def test_git_ignores_them() -> None:
    for path in ("docker/secrets/serve.env", "docker/.env"):
        ignored = subprocess.run(["git", "-C", ROOT, "check-ignore", "--quiet", path], capture_output=True)
        assert ignored.returncode in (0, 128), path  # 128: this is no git checkout


def test_one_role_each() -> None:
    """Every group of the schema is made beforehand, because the owner may make none; each process has one of them."""
    script = (FOLDER / "postgres/10-databases.sh").read_text()
    assert set(re.findall(r"CREATE ROLE (\w+) NOLOGIN", script)) == {role.name for role in ROLES}
    groups = dict(re.findall(r"CREATE ROLE delegator_login_(\w+) LOGIN .* IN ROLE (\w+)", script))
    assert groups == {
        "serve": "delegator_maintenance",
        "http_worker": "delegator_worker",
        "worker": "delegator_enqueuer",
        "relay": "delegator_stream",
        "loadtest": "delegator_app",
    }
    for name in ("serve", "http-worker", "worker", "relay"):
        paths = [path for path, must in env_files(services()[name]).items() if must]
        assert paths == [f"secrets/{name}.env"]
