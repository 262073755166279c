"""Temporal's settings: what the SDK would ignore is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from delegator import ConfigurationError, connect
from delegator.runtime.temporal_settings import temporal_settings
from tests.integration.delegator.encryption import converter

FILE = """
[profile.default]
address = "from-file:7233"
[profile.codec]
codec = { endpoint = "http://codec" }
[profile.unsafe.tls]
disable_host_verification = true
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "temporal.toml"
    path.write_text(FILE)
    return str(path)


def test_temporal_settings(file: str) -> None:
    """Settings come from environment variables and from a profile in a file."""
    assert temporal_settings({"TEMPORAL_ADDRESS": "a:1", "TEMPORAL_NAMESPACE": "n", "TEMPORAL_API_KEY": "k"}) == {
        "target_host": "a:1",
        "namespace": "n",
        "api_key": "k",
        "tls": True,
    }
    assert temporal_settings({"TEMPORAL_CONFIG_FILE": file}) == {"target_host": "from-file:7233"}
    assert temporal_settings({"TEMPORAL_GRPC_META_TEAM": "blue", "TEMPORAL_TLS": "false"}) == {
        "rpc_metadata": {"team": "blue"},
        "tls": False,
    }


@pytest.mark.parametrize(
    "variable",
    [
        "TEMPORAL_TASK_QUEUE",
        "TEMPORAL_PORT",
        "TEMPORAL_SERVICE_HOST",
        "TEMPORAL_FRONTEND_PORT_7233_TCP_ADDR",
        "TEMPORAL_DEBUG",
        "TEMPORALIO_ADRESS",
    ],
)
def test_foreign_variables(variable: str) -> None:
    """TEMPORAL_ variables that are not settings of the client are ignored."""
    assert temporal_settings({variable: "x"}) == {}


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("TEMPORAL_ADRESS", "did you mean TEMPORAL_ADDRESS"),
        ("TEMPORAL_NAMESPACES", "did you mean TEMPORAL_NAMESPACE"),
        ("TEMPORAL_HOST", "write TEMPORAL_ADDRESS"),
        ("TEMPORAL_APIKEY", "write TEMPORAL_API_KEY"),
        ("TEMPORAL_TLS_CERT", "write TEMPORAL_TLS_CLIENT_CERT_PATH"),
        ("TEMPORAL_TLS_CLIENT_CERT", "did you mean TEMPORAL_TLS_CLIENT_CERT_"),
        ("TEMPORAL_TLS_SOMETHING", "would be ignored"),
        ("TEMPORAL_TLS_DISABLE_HOST_VERIFICATION", "SDK ignores this setting; .* TEMPORAL_TLS_SERVER_NAME"),
        ("TEMPORAL_CODEC_ENDPOINT", "SDK ignores this setting; .* DELEGATOR_DATA_CONVERTER"),
        ("TEMPORAL_TLS", "TEMPORAL_TLS 'x': write true or false"),
        ("TEMPORAL_CONFIG_FILE", "TEMPORAL_CONFIG_FILE x: there is no such file"),
        ("TEMPORAL_PROFILE", r"\(TEMPORAL_PROFILE is x\): Profile 'x' not found"),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", "No such file"),
    ],
)
def test_bad_variables(variable: str, said: str) -> None:
    """A variable that the SDK would ignore, or that has a wrong value, is refused by name."""
    with pytest.raises(ConfigurationError, match=said):
        temporal_settings({variable: "x"})


@pytest.mark.parametrize(
    ("profile", "said"),
    [("codec", "ignores a profile's `codec`"), ("unsafe", "`disable_host_verification`")],
)
def test_bad_profile(file: str, profile: str, said: str) -> None:
    """A key of a profile that the SDK would ignore is refused by name."""
    with pytest.raises(ConfigurationError, match=said):
        temporal_settings({"TEMPORAL_CONFIG_FILE": file, "TEMPORAL_PROFILE": profile})


def test_misspelt_key(tmp_path: Path) -> None:
    """The error about a misspelt key in a file names the key but not its value."""
    path = tmp_path / "temporal.toml"
    path.write_text('[profile.default]\napikey = "a secret"\n')
    with pytest.raises(ConfigurationError, match="unknown field `apikey`") as refused:
        temporal_settings({"TEMPORAL_CONFIG_FILE": str(path)})
    assert "secret" not in str(refused.value)


async def test_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """connect() reads Temporal's settings and the data converter from the environment."""
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "shop")
    monkeypatch.setenv("DELEGATOR_DATA_CONVERTER", "tests.integration.delegator.encryption:converter")
    client = await connect(lazy=True, identity="me")
    assert (client.namespace, client.identity) == ("shop", "me")
    assert type(client.data_converter.payload_codec) is type(converter.payload_codec)
    assert [plugin.name() for plugin in client.config()["plugins"]] == ["temporal-delegator"]
