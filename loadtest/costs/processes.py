"""Processor time and memory of processes and of what they start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from delegator.errors import ConfigurationError
from loadtest.costs.model import ProcessCost

if TYPE_CHECKING:
    import psutil


class ProcessMeter:
    """Looks at process trees now and then.

    Processor time misses nothing between two looks: a descendant that has ended is in its parent's account (as
    PostgreSQL's backends are in the postmaster's). Memory is what the looks saw.
    """

    def __init__(self, roots: Mapping[str, int]) -> None:
        """Prepare.

        Args:
            roots: name and process id of each tree; a root below another one does not count as part of that.

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
        """Look at more trees, which began within the window: all that they use counts.

        Args:
            roots: as at the start.
        """
        self._roots.update(roots)

    def begin(self) -> None:
        """Begin the window: what was used before does not count."""
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
                # Asked once: it is most of what a look costs, and an orphan stays where it came from.
                parent = self._parents.get(process.pid) or process.ppid()
                parents[process.pid] = parent
                processes[process.pid] = process
                children[parent].append(process)
        self._parents = parents
        for name, pid in self._roots.items():
            if pid in processes:
                self._add(name, list(self._tree(processes[pid], children)))

    def costs(self) -> dict[str, ProcessCost]:
        """Return what the window cost so far; without processes that were never seen."""
        return {
            name: ProcessCost(cpu_s=cpu - self._cpu_before.get(name, 0.0), peak_rss_bytes=self._peak[name])
            for name, cpu in self._cpu.items()
        }

    def _tree(self, root: psutil.Process, children: Mapping[int, list[psutil.Process]]) -> Iterator[psutil.Process]:
        # Parents first: one that ends meanwhile is then missing for a moment, and never counted twice.
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
                # Elsewhere than on Linux there are neither: ended children and what is shared go unseen.
                ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
                cpu += times.user + times.system + ended
                common = getattr(memory, "shared", 0)
                private += memory.rss - common
                shared = max(shared, common)
        if tree:
            self._cpu[name] = max(cpu, self._cpu.get(name, 0.0))
            self._peak[name] = max(private + shared, self._peak.get(name, 0))
