"""What the packages offer: the errors drawn in `delegator.errors`, and every name exported on purpose."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import delegator
import delegator.dev
import delegator.encryption
import delegator.migrate
import delegator.outbox
import delegator.relay
import delegator.testing
import http_workers
from delegator import errors

EXPORTS = {
    delegator: (
        "ConfigurationError", "DelegatorError", "DelegatorPlugin", "DependencyError", "FleetLimits", "JobContext",
        "LogFormat",
        "PluginOptions", "Resource", "Settings", "collect_rarely", "configure_logging", "connect", "contract",
        "current_job", "delegate", "delegate_map", "delegate_starmap", "delegated", "errors",
        "existing_activities", "heartbeat", "implements", "resource",
    ),
    http_workers: ("ClaimMode", "HttpWorker"),
    delegator.dev: ("RunningStack", "StackOptions", "TemporalKind", "embedded_stack"),
    delegator.outbox: ("AsyncOutbox", "JobResults", "Outbox", "PlainJob", "plain_job"),
    delegator.encryption: ("EncryptionCodec", "EncryptionKey", "EncryptionKeys", "data_converter", "encrypted"),
    delegator.migrate: ("Finding", "MigrationReport", "check", "describe", "inspect", "migrate"),
    delegator.relay: ("RelayHandle", "RelayOptions", "running_relay"),
    delegator.testing: (
        "AttemptRecord", "AttemptStatus", "DelegatorTestPlugin", "Delivery", "InMemoryEngine", "JobEnvironment",
        "JobRecord", "JobStatus", "run_handler",
    ),
}  # fmt: skip


@pytest.mark.parametrize("package", EXPORTS, ids=lambda package: package.__name__)
def test_exports_are_deliberate(package: ModuleType):
    exported = package.__all__
    assert sorted(exported) == sorted(EXPORTS[package]), "on purpose? then name it here, too"
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    ours = {
        name
        for name, value in vars(package).items()
        if name in exported or not (name.startswith("_") or isinstance(value, ModuleType) or name in modules)
    }
    assert ours - {"unsafe"} == set(exported)


@pytest.mark.parametrize(
    "package", [delegator, delegator.outbox, delegator.testing, http_workers], ids=lambda package: package.__name__
)
def test_exports_name_their_package(package: ModuleType):
    """Exported objects name the public package as their module."""
    exports = {name: getattr(package, name) for name in package.__all__}
    modules = {name: value.__module__ for name, value in exports.items() if not isinstance(value, ModuleType)}
    assert set(modules.values()) == {package.__name__}, modules


EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_examples_use_public_names_only(path: Path):
    public = {package.__name__: set(names) for package, names in EXPORTS.items()}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("delegator", "http_workers"):
            assert {alias.name for alias in node.names} <= public.get(node.module or "", set()), node.module
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
            assert not {name for name in names if name.startswith(("delegator", "http_workers"))} - set(public), names


def drawn() -> dict[str, str]:
    """Return the tree at the top of `delegator.errors`: each error's parent."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r" {4}([ │├└─]*)([A-Z]\w+)", line):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            parents[found[2]] = path[depth - 1] if depth else "Exception"
    return parents


def real() -> dict[str, str]:
    for package in (delegator, http_workers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.rpartition(".")[2].startswith("_"):  # scripts
                importlib.import_module(module.name)
    parents = {"DelegatorError": "Exception"}
    queue = [errors.DelegatorError]
    while queue:
        for error in queue.pop().__subclasses__():
            if error.__module__.partition(".")[0] in ("delegator", "http_workers"):
                parents[error.__name__] = error.__base__.__name__ if error.__base__ else ""
                queue.append(error)
    return parents


def test_error_tree():
    """The tree of errors in the docstring is the real one."""
    assert drawn() == real()
