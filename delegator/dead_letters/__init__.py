"""Dead letters: jobs that the queue gave up on, found, looked at, replayed and purged."""

from delegator.dead_letters.moments import parse_moment
from delegator.dead_letters.operations import Replayed, content, find, purge, replay
from delegator.dead_letters.report import describe, summary
from delegator.store.dead_letter_table import REASONS, Content, DeadLetter, Selection

__all__ = [
    "REASONS",
    "Content",
    "DeadLetter",
    "Replayed",
    "Selection",
    "content",
    "describe",
    "find",
    "parse_moment",
    "purge",
    "replay",
    "summary",
]
