"""docker/kubernetes: each file is valid, and names only what exists. `make check` builds the overlays, too."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from docs_reference.cli import programs
from docs_reference.metrics import all_series
from docs_reference.settings import variables

from delegator.config import Settings
from delegator.migrate.sequin import render_config
from tests.unit.docker.compose import FOLDER, services

KUBERNETES = FOLDER / "kubernetes"
SERVER = "1.33"
OF_KUSTOMIZE = {"Kustomization", "Component"}


def documents() -> list[tuple[Path, dict[str, Any]]]:
    return [
        (path, document)
        for path in sorted(KUBERNETES.rglob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if path.name not in ("name-reference.yaml", "prometheus-adapter.yaml")
    ]


OBJECTS = [(path, one) for path, one in documents() if one["kind"] not in OF_KUSTOMIZE]
KUSTOMIZATIONS = [(path, one) for path, one in documents() if one["kind"] in OF_KUSTOMIZE]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for _, one in OBJECTS:
        if "template" in one.get("spec", {}):
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def named(item: tuple[Path, dict[str, Any]]) -> str:
    return f"{item[0].relative_to(KUBERNETES)}:{item[1].get('metadata', {}).get('name', '')}"


@pytest.mark.parametrize("item", OBJECTS, ids=named)
def test_schema(item: tuple[Path, dict[str, Any]]) -> None:
    """Kubernetes' own schema accepts the object, and knows each of its fields."""
    if item[1]["kind"] == "ScaledObject":
        assert item[1]["apiVersion"] == "keda.sh/v1alpha1"  # `make check` has KEDA's schema
    else:
        kubernetes_validate.validate(item[1], SERVER, strict=True)


@pytest.mark.parametrize("item", KUSTOMIZATIONS, ids=named)
def test_kustomizations(item: tuple[Path, dict[str, Any]]) -> None:
    """What a kustomization lists exists."""
    path, one = item
    listed = [*one.get("resources", []), *one.get("components", []), *one.get("configurations", [])]
    for generator in one.get("configMapGenerator", []):
        listed += [*generator.get("envs", []), *generator.get("files", [])]
    assert listed
    for name in listed:
        assert (path.parent / name).exists(), f"{path}: {name}"


def test_pods_are_confined() -> None:
    """No root, no capabilities, no token; ours have a read-only file system; each has limits."""
    assert len(list(pods())) == 6
    for name, pod in pods():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert "memory" in container["resources"]["limits"]
            assert container["securityContext"].get("readOnlyRootFilesystem") is True or name == "sequin"


def test_probes() -> None:
    """A process that hangs is restarted; one whose servers are away is only marked as not ready."""
    for name, pod in pods():
        for container in pod["containers"]:
            if name != "delegator-migrate":
                assert container["livenessProbe"]["httpGet"]["path"] == ("/health" if name == "sequin" else "/livez")
                assert container["readinessProbe"]["httpGet"]["path"] == ("/health" if name == "sequin" else "/readyz")
                ports = {port["name"] for port in container["ports"]}
                assert {
                    container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "liveness", "readiness")
                } <= ports


def test_grace() -> None:
    """Kubernetes waits for as long as a worker may need after SIGTERM."""
    for name, pod in pods():
        (container, *_) = pod["containers"]
        words = container.get("args", [])
        if "--grace" in words:
            grace = int(words[words.index("--grace") + 1].removesuffix("s"))
            assert pod["terminationGracePeriodSeconds"] >= grace + 20, name


def test_commands() -> None:
    """The programs exist, have these options, and open the port that the probes ask."""
    known = {words: {name for one in command.params for name in one.opts} for words, command in programs()}
    seen = set()
    for name, pod in pods():
        for container in pod["containers"]:
            if name == "sequin":
                continue
            words = container["args"]
            command = " ".join(words[:2]) if words[0] == "delegator" else words[0]
            assert {word for word in words if word.startswith("--")} <= known[command], name
            if "--port" in words:
                assert int(words[words.index("--port") + 1]) == container["ports"][0]["containerPort"]
                assert words[words.index("--host") + 1] == "0.0.0.0"
            seen.add(command)
    assert seen == {"delegator migrate", "delegator relay", "delegator serve", "delegator worker", "http-worker"}


def test_settings_exist() -> None:
    for path in KUBERNETES.rglob("settings.env"):
        names = {line.split("=")[0] for line in path.read_text().splitlines()}
        assert names <= {*variables(), "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"}
        assert "DELEGATOR_QUEUES" in names
    assert not [path for path in KUBERNETES.rglob("*") if path.is_file() and "Secret\n" in path.read_text()]


@pytest.mark.parametrize("overlay", ["relay", "sequin"])
def test_stream(overlay: str) -> None:
    """Workers ask a Service, or every pod behind a headless one, whose names do not come and go with readiness."""
    folder = KUBERNETES / "overlays" / overlay
    objects = [one for path, one in OBJECTS if path.parent == folder]
    services = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "Service"}
    hosts = [name for name, spec in services.items() if spec.get("clusterIP") != "None"]
    for one in objects:
        if one["kind"] == "StatefulSet":
            name, service = one["metadata"]["name"], one["spec"]["serviceName"]
            assert services[service]["clusterIP"] == "None"
            assert services[service]["publishNotReadyAddresses"] is True
            hosts += [f"{name}-{number}.{service}" for number in range(one["spec"]["replicas"])]
    given = dict(line.split("=", 1) for line in (folder / "settings.env").read_text().splitlines())
    assert given["DELEGATOR_STREAM_URL"] == ",".join(f"http://{host}:7376" for host in hosts)


def test_budgets_and_services_select_pods() -> None:
    """Each PodDisruptionBudget and Service selects the pods of a Deployment or a StatefulSet."""
    sets = ("Deployment", "StatefulSet")
    labels = [one["spec"]["template"]["metadata"]["labels"] for _, one in OBJECTS if one["kind"] in sets]
    seen = set()
    for _, one in OBJECTS:
        if one["kind"] in ("PodDisruptionBudget", "Service"):
            selector = one["spec"]["selector"].get("matchLabels", one["spec"]["selector"])
            assert selector in labels, one["metadata"]["name"]
            seen.add(one["kind"])
    assert seen == {"PodDisruptionBudget", "Service"}


def test_scaling() -> None:
    """Both ways to scale name the Deployment of http-worker, and series that `delegator serve` has."""
    series = {one.name: one for one in all_series() if one.process == "serve"}
    targets, queries = set(), []
    for _, one in OBJECTS:
        if one["kind"] in ("ScaledObject", "HorizontalPodAutoscaler"):
            targets.add(one["spec"]["scaleTargetRef"]["name"])
            queries += [trigger["metadata"]["query"] for trigger in one["spec"].get("triggers", [])]
            queries += [metric["external"]["metric"]["name"] for metric in one["spec"].get("metrics", [])]
    adapter = yaml.safe_load((KUBERNETES / "components/hpa/prometheus-adapter.yaml").read_text())
    queries += [rule["metricsQuery"] for rule in adapter["rules"]["external"]]
    assert targets == {"http-worker"}
    assert len(queries) == 6
    for query in queries:
        assert set(re.findall(r"delegator_\w+", query)) <= set(series), query
        for name, matchers in re.findall(r"(delegator_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)=", matchers)) <= set(series[name].labels), query


def test_version() -> None:
    """The overlays run the version that this checkout is."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]
    tags = [
        image["newTag"] for _, one in KUSTOMIZATIONS for image in one.get("images", []) if image["name"] != "your-app"
    ]
    assert tags == [project["version"]] * 2


def test_sequin() -> None:
    """The overlay has the file that sequin-config writes for its queues, and the image of compose.yaml."""
    overlay = KUBERNETES / "overlays/sequin"
    given = dict(line.split("=", 1) for line in (overlay / "settings.env").read_text().splitlines())
    url = "postgresql://delegator_relay@postgres:5432/delegator"
    rendered = render_config(Settings.load(queues=given["DELEGATOR_QUEUES"], database_url=url))
    assert (overlay / "sequin.yml").read_text() == rendered, "write it again: delegator sequin-config"
    (pod,) = [pod for name, pod in pods() if name == "sequin"]
    assert pod["containers"][0]["image"] == services()["sequin"]["image"]
