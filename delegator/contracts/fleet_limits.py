"""Limits of a type that all workers of its queue keep together."""

from __future__ import annotations

from dataclasses import dataclass, fields

from delegator.contracts.options import check_number
from delegator.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetLimits:
    """Limits of a type over all worker processes of its queue. `max_concurrent` of `@delegated` counts in each process.

    They need an ordered queue (`DELEGATOR_ORDERED_QUEUES`). All workers should declare the same ones.
    """

    max_concurrent: int | None = None
    """Most jobs of the type that run at once. None: no limit."""
    max_per_second: float | None = None
    """Most jobs of the type that start in a second, evenly spread. None: no limit."""
    max_concurrent_per_key: int | None = None
    """Most jobs of the type that run at once with the same fairness key. None: no limit."""
    max_per_second_per_key: float | None = None
    """Most jobs of the type that start in a second with the same fairness key. None: no limit."""

    def validate(self, owner: str) -> None:
        """Check the values.

        Args:
            owner: name of the delegated activity type, for the message.

        Raises:
            ConfigurationError: a value has the wrong type or is out of range, or there is no limit.
        """
        given = {limit.name: value for limit in fields(self) if (value := getattr(self, limit.name)) is not None}
        if not given:
            raise ConfigurationError(f"{owner}: fleet_limits has no limit: give it max_concurrent=... or another one")
        for name, value in given.items():
            whole = name.startswith("max_concurrent")
            check_number(f"{owner}: fleet_limits: {name}", value, whole=whole)
            if value <= 0:
                raise ConfigurationError(
                    f"{owner}: fleet_limits: {name} must be {'at least 1' if whole else 'positive'}"
                )
