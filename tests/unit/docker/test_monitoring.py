"""Prometheus scrapes what exists; the dashboard and the alerts ask for series and labels that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs_reference.metrics import all_series

from tests.unit.docker.compose import FOLDER, is_ours, services

PROMETHEUS: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus/prometheus.yml").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus/rules.yaml").read_text())
ALERT_TESTS = Path(__file__).parent / "rules.test.yaml"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana/dashboards/delegator.json").read_text())
SERIES = {series.name: series for series in all_series()}
ADDED_BY_PROMETHEUS = {"job", "instance", "le"}


def expressions() -> Iterator[tuple[str, str]]:
    """Return each expression, with the name of its panel or alert."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("place", "expression"), [*expressions()])
def test_series_exist(place: str, expression: str) -> None:
    """A process exposes each series, with the labels that are used; a series that only grows is read by its rate."""
    labels = set(ADDED_BY_PROMETHEUS)
    found = re.findall(r"(?:(\w+)\()?\b(delegator_\w+)(\{[^}]*\})?(\[)?", expression)
    assert found or expression.startswith("up{")
    for function, name, matchers, ranged in found:
        series = SERIES.get(name) or SERIES[re.sub(r"_(bucket|count|sum)$", "", name)]
        if series.type == "histogram":
            assert name.endswith(("_bucket", "_count", "_sum")), f"{place}: {name} is a histogram"
        if series.type in ("counter", "histogram"):
            assert function in ("rate", "increase"), f"{place}: {name} only grows"
            assert ranged
        else:
            assert function not in ("rate", "increase"), f"{place}: {name} is a gauge"
        assert set(re.findall(r"(\w+)=", matchers)) <= {*series.labels, *ADDED_BY_PROMETHEUS}, f"{place}: {matchers}"
        labels |= set(series.labels)
    for listed in re.findall(r"\b(?:by|on) ?\(([^)]*)\)", expression):
        assert {label.strip() for label in listed.split(",")} <= labels, f"{place}: {listed}"


def test_legends_use_labels_that_are_left() -> None:
    """A legend shows labels that the expression keeps."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            outer = re.match(
                r"(?:sum|max|min) by \(([^)]*)\)|histogram_quantile\([\d.]+, sum by \(([^)]*)\)", target["expr"]
            )
            kept = {label.strip() for label in (outer[1] or outer[2]).split(",")} if outer else set()
            assert shown <= kept, f"{panel['title']}: {shown - kept}"


def test_targets_are_services() -> None:
    """Each target is a service, at the port that its command opens."""
    all_services = services()
    for job in PROMETHEUS["scrape_configs"]:
        (found,) = job["dns_sd_configs"]
        (name,) = found["names"]
        assert name in all_services
        if is_ours(all_services[name]):
            words = all_services[name]["command"]
            ports = {words[at + 1] for at, word in enumerate(words) if word in ("--port", "--sdk-port")}
            assert str(found["port"]) in ports, job["job_name"]
    assert {"relay", "serve", "http-worker", "worker"} <= {job["job_name"] for job in PROMETHEUS["scrape_configs"]}


def test_every_alert_of_the_page() -> None:
    """The alerts and the page of the documentation name the same series."""
    page = (FOLDER.parent / "docs/operating/health-and-metrics.md").read_text()
    table = page[page.index("## What to alert on") : page.index("## Reading the latency")]
    named = set(re.findall(r"delegator_\w+", " ".join(rule["expr"] for rule in ALERTS["groups"][0]["rules"])))
    assert named <= set(re.findall(r"delegator_\w+", table))


def test_runbooks() -> None:
    """Each alert links to its own part of the page of runbooks, and the page has no part without an alert."""
    page = (FOLDER.parent / "docs/operating/runbooks.md").read_text()
    rules = {rule["alert"]: rule for rule in ALERTS["groups"][0]["rules"]}
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == set(rules)
    for alert, rule in rules.items():
        assert rule["annotations"]["runbook_url"].endswith(f"docs/operating/runbooks.md#{alert.lower()}")
        assert set(rule["labels"]) == {"severity"}


def test_alerts_are_tested() -> None:
    """For each alert there is a case in which it fires, and one in which it does not."""
    seen: dict[str, set[int]] = {rule["alert"]: set() for rule in ALERTS["groups"][0]["rules"]}
    for case in yaml.safe_load(ALERT_TESTS.read_text())["tests"]:
        (asked,) = case["promql_expr_test"]
        (alert,) = re.findall(r'alertname="(\w+)"', asked["expr"])
        seen[alert].add(asked["exp_samples"][0]["value"])
    assert {alert for alert, values in seen.items() if values != {0, 1}} == set()


def test_alerts_fire() -> None:
    """Prometheus's own tool runs these cases."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool (Debian: apt-get install prometheus)")
    done = subprocess.run([program, "test", "rules", str(ALERT_TESTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_dashboard_is_provisioned() -> None:
    """Grafana finds the dashboard, and the dashboard finds its data source."""
    (source,) = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/delegator.yaml").read_text())["providers"]
    grafana = services()["grafana"]
    mounts = {target: source for source, target, _ in (mount.split(":") for mount in grafana["volumes"][:2])}
    assert mounts[provider["options"]["path"]] == "./grafana/dashboards"
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].startswith(provider["options"]["path"])
    assert source["url"] == "http://prometheus:9090"
    assert {p["datasource"]["uid"] for p in DASHBOARD["panels"] if p["type"] != "row"} == {source["uid"]}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
