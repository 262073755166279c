"""The job: count the words of one file. HTTP workers run it."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path

from delegator import delegated

WORD = re.compile(r"[a-z]{4,}")


@delegated(start_to_close_timeout=timedelta(seconds=30))
async def count_words(file: str) -> dict[str, int]:
    """Return how often each word occurs in a file."""
    text = await asyncio.to_thread(Path(file).read_text, encoding="utf-8", errors="replace")
    return Counter(WORD.findall(text.lower()))
