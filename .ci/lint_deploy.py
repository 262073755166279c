#!/usr/bin/env python3
"""Checks what deploys the engine, as far as this machine has the tools. `make check` runs it.

Always: hadolint on the Dockerfile. After `make deploy-tools`: actionlint on the workflows. Then kustomize builds
each Kubernetes overlay, with the HorizontalPodAutoscaler and with a prefix, too. The result is compared with the
schemas of Kubernetes and of KEDA.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".tools"
KUBERNETES = ROOT / "docker/kubernetes"
VARIANTS = {
    "relay": ["resources: [{relay}]"],
    "sequin": ["resources: [{sequin}]"],
    "relay with a prefix": [
        "resources: [{relay}]",
        "namePrefix: shop-",
        "configMapGenerator:",
        "- name: delegator-settings",
        "  behavior: merge",
        "  literals:",
        "  - DELEGATOR_STREAM_URL="
        "http://shop-delegator-relay-0.shop-stream:7376,http://shop-delegator-relay-1.shop-stream:7376",
    ],
    "base with an HPA": ["resources: [{base}]", "components: [{hpa}]"],
}
PLACES = {
    "relay": "overlays/relay",
    "sequin": "overlays/sequin",
    "base": "base",
    "hpa": "components/hpa",
}


def run(*command: str | Path) -> str:
    """Run a program, and end with its output if it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{Path(command[0]).name}:\n{done.stdout}{done.stderr}")
    return done.stdout


def lint_kubernetes(kustomize: Path, definition: Path) -> None:
    """Build each variant, and validate each object."""
    (version,) = [one for one in yaml.safe_load(definition.read_text())["spec"]["versions"] if one["served"]]
    scaled_object = version["schema"]["openAPIV3Schema"]
    with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
        for name, lines in VARIANTS.items():
            places = {place: Path("../..", KUBERNETES.relative_to(ROOT), path) for place, path in PLACES.items()}
            text = "\n".join(["kind: Kustomization", *lines])
            Path(folder, "kustomization.yaml").write_text(text.format(**places))
            objects = list(yaml.safe_load_all(run(kustomize, "build", folder)))
            if not objects:
                sys.exit(f"{name}: kustomize built nothing")
            for one in objects:
                validate(name, one, scaled_object)
            check_references(name, objects)
            check_stream(name, objects)


def validate(variant: str, one: dict[str, Any], scaled_object: dict[str, Any]) -> None:
    """Compare an object with its schema."""
    label = f"{variant}: {one['kind']} {one['metadata']['name']}"
    try:
        if one["kind"] == "ScaledObject":
            jsonschema.validate(one, scaled_object)
        else:
            kubernetes_validate.validate(one, "1.33", strict=True)
    except (kubernetes_validate.ValidationError, jsonschema.ValidationError) as error:
        sys.exit(f"{label}: {error.message}")


def check_references(variant: str, objects: list[dict[str, Any]]) -> None:
    """Refuse a reference to an object that the variant does not have. Secrets are made by hand."""
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for one in objects:
        spec = one.get("spec", {})
        if target := spec.get("scaleTargetRef"):
            wanted = ("Deployment", target["name"])
            if wanted not in there:
                sys.exit(f"{variant}: {one['kind']} scales {wanted[1]}, which is not there")
        pod = spec.get("template", {}).get("spec", {})
        for container in pod.get("containers", []):
            maps = [source["configMapRef"]["name"] for source in container["envFrom"] if "configMapRef" in source]
            maps += [volume["configMap"]["name"] for volume in pod.get("volumes", []) if "configMap" in volume]
            for name in maps:
                if variant != "base with an HPA" and ("ConfigMap", name) not in there:
                    sys.exit(f"{variant}: {one['metadata']['name']} reads the ConfigMap {name}, which is not there")
            if variant != "base with an HPA" and ":" not in container["image"]:
                sys.exit(f"{variant}: the image {container['image']} has no version")


def check_stream(variant: str, objects: list[dict[str, Any]]) -> None:
    """Refuse a stream's address that is no Service of the variant, and no pod of a StatefulSet behind one."""
    services = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "Service"}
    ports = {name: {port["port"] for port in spec["ports"]} for name, spec in services.items()}
    for one in objects:
        if one["kind"] == "StatefulSet":
            name, spec = one["metadata"]["name"], one["spec"]
            service = spec["serviceName"]
            if services.get(service, {}).get("clusterIP") != "None":
                sys.exit(f"{variant}: StatefulSet {name} needs a headless Service {service}, which is not there")
            ports |= {f"{name}-{number}.{service}": ports[service] for number in range(spec["replicas"])}
    for one in objects:
        for url in one.get("data", {}).get("DELEGATOR_STREAM_URL", "").split(","):
            address = urlsplit(url)
            if url and address.port not in ports.get(address.hostname or "", ()):
                sys.exit(f"{variant}: DELEGATOR_STREAM_URL names {url}, and nothing listens there")


def main() -> None:
    """Run what can be run, and say what could not."""
    run(Path(sys.executable).with_name("hadolint"), "--no-color", ROOT / "docker/Dockerfile")
    missing = []
    if (actionlint := TOOLS / "bin/actionlint").exists():
        run(actionlint, "-no-color", *sorted((ROOT / ".github/workflows").glob("*.yaml")))
    else:
        missing.append(".github/workflows (actionlint)")
    kustomize, definition = TOOLS / "bin/kustomize", TOOLS / "keda/scaledobjects.yaml"
    if kustomize.exists() and definition.exists():
        lint_kubernetes(kustomize, definition)
    else:
        missing.append("docker/kubernetes as a whole (kustomize)")
    if missing:
        print(f"lint_deploy: not checked without the tools that `make deploy-tools` builds: {'; '.join(missing)}")


if __name__ == "__main__":
    main()
