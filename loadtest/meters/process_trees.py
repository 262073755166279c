"""Processor time and memory of processes and of those that they start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from delegator.errors import ConfigurationError
from loadtest.results.costs import ProcessCost

if TYPE_CHECKING:
    import psutil


class ProcessMeter:
    """Looks at process trees now and then.

    Processor time is complete between two looks: the time of a descendant that has ended is added to its parent's (as
    that of PostgreSQL's backends to the postmaster's). The peak of memory is the highest that a look saw.
    """

    def __init__(self, roots: Mapping[str, int]) -> None:
        """Prepare.

        Args:
            roots: name and process id of each tree. A root below another root belongs to its own tree only.

        Raises:
            ConfigurationError: psutil is not installed.
        """
        try:
            import psutil
        except ImportError:
            raise ConfigurationError(
                "the load test reads processes with psutil, which is not installed: "
                "pip install 'temporal-delegator[loadtest]'"
            ) from None
        self._psutil = psutil
        self._roots = dict(roots)
        self._parents: dict[int, int] = {}
        self._cpu_before: dict[str, float] = {}
        self._cpu: dict[str, float] = {}
        self._peak: dict[str, int] = {}

    def add(self, roots: Mapping[str, int]) -> None:
        """Look at more trees, which began within the window, so all that they use counts.

        Args:
            roots: as at the start.
        """
        self._roots.update(roots)

    def begin(self) -> None:
        """Begin the window. What was used before does not count."""
        self._cpu.clear()
        self._peak.clear()
        self.sample()
        self._cpu_before = dict(self._cpu)

    def sample(self) -> None:
        """Look once."""
        children: defaultdict[int, list[psutil.Process]] = defaultdict(list)
        processes: dict[int, psutil.Process] = {}
        parents: dict[int, int] = {}
        for process in self._psutil.process_iter():
            with suppress(self._psutil.Error):
                # Asked once for each process, because it takes most of the time. An orphan keeps its first parent.
                parent = self._parents.get(process.pid) or process.ppid()
                parents[process.pid] = parent
                processes[process.pid] = process
                children[parent].append(process)
        self._parents = parents
        for name, pid in self._roots.items():
            if pid in processes:
                self._add(name, list(self._tree(processes[pid], children)))

    def costs(self) -> dict[str, ProcessCost]:
        """Return the costs of the window so far, without processes that no look saw."""
        return {
            name: ProcessCost(cpu_s=cpu - self._cpu_before.get(name, 0.0), peak_rss_bytes=self._peak[name])
            for name, cpu in self._cpu.items()
        }

    def _tree(self, root: psutil.Process, children: Mapping[int, list[psutil.Process]]) -> Iterator[psutil.Process]:
        # Parents first: a process that ends meanwhile may be missed in one look, but is never counted twice.
        yield root
        others = self._roots.values()
        for child in children.get(root.pid, ()):
            if child.pid not in others:
                yield from self._tree(child, children)

    def _add(self, name: str, tree: list[psutil.Process]) -> None:
        cpu = 0.0
        private = shared = 0
        for process in tree:
            with suppress(self._psutil.Error), process.oneshot():
                times = process.cpu_times()
                memory = process.memory_info()
                # Only Linux has these: elsewhere ended children and shared memory are not counted.
                ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
                cpu += times.user + times.system + ended
                common = getattr(memory, "shared", 0)
                private += memory.rss - common
                shared = max(shared, common)
        if tree:
            self._cpu[name] = max(cpu, self._cpu.get(name, 0.0))
            self._peak[name] = max(private + shared, self._peak.get(name, 0))
