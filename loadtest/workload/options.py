"""The options of a scenario: what its jobs do, and how bursts arrive."""

# No snoozed annotations here: the data converter would evaluate them again for every argument.
from dataclasses import dataclass, fields

from delegator.errors import ConfigurationError

MOST_PAYLOAD_BYTES = 1_900_000
"""Temporal's limit of a payload is 2 MB."""
LONGEST_SLEEP_MS = 45_000
"""The jobs' start-to-close timeout is a minute."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the jobs of a workflow do beside answering. The percentages are at most 100 together."""

    payload_bytes: int = 0
    """Size of every job's payload."""
    sleep_ms: int = 0
    """How long a slow job sleeps, as if it waited for a network."""
    slow_percent: int = 0
    """Share of slow jobs."""
    large_bytes: int = 0
    """Size of the payload of a large job."""
    large_percent: int = 0
    """Share of large jobs."""
    failing_percent: int = 0
    """Share of jobs that fail once and then succeed."""


PLAIN = Shape()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a scenario; the field names are those of the command line."""

    payload_bytes: int = 0
    """As in `Shape`, like the others up to `failing_percent`."""
    sleep_ms: int = 0
    slow_percent: int = 0
    large_bytes: int = 0
    large_percent: int = 0
    failing_percent: int = 0
    bursts: int = 1
    """Number of bursts; each starts an equal share of the workflows at once."""
    pause: float = 0.0
    """Seconds from the last result of a burst to the next burst."""

    def __post_init__(self) -> None:
        """Refuse what can't be run.

        Raises:
            ConfigurationError: a number is out of range.
        """
        _within("payload_bytes", self.payload_bytes, 0, MOST_PAYLOAD_BYTES)
        _within("large_bytes", self.large_bytes, 0, MOST_PAYLOAD_BYTES)
        _within("sleep_ms", self.sleep_ms, 0, LONGEST_SLEEP_MS)
        for name in ("slow_percent", "large_percent", "failing_percent"):
            _within(name, getattr(self, name), 0, 100)
        if self.slow_percent + self.large_percent + self.failing_percent > 100:
            raise ConfigurationError(
                f"{option_flag('slow_percent')}, {option_flag('large_percent')} and {option_flag('failing_percent')} "
                "together are above 100"
            )
        _within("bursts", self.bursts, 1, 10_000)
        _within("pause", self.pause, 0, 3_600)

    @property
    def shape(self) -> Shape:
        """What the jobs do."""
        return Shape(**{field.name: getattr(self, field.name) for field in fields(Shape)})

    @property
    def largest_payload(self) -> int:
        """Bytes of the largest payload of a job."""
        return max(self.payload_bytes, self.large_bytes if self.large_percent else 0)


OPTION_NAMES = tuple(field.name for field in fields(Options))


def option_flag(name: str) -> str:
    """Return the flag of an option or of a field of the load."""
    return "--" + name.replace("_", "-")


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigurationError(f"{option_flag(name)} must be from {least:g} to {most:,.0f}, not {value:g}")
