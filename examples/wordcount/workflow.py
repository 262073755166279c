"""The workflow: a job for each file; the counts are added up in the order of the files."""

from __future__ import annotations

from collections import Counter

from temporalio import workflow

from delegator import delegate_map

with workflow.unsafe.imports_passed_through():
    from examples.wordcount.tasks import count_words

# Temporal fails workflow code that computes for 2 s without a wait, and warns of messages above 512 KiB; a dictionary
# per file adds up. So results come in slices, however many files there are.
SLICE = 100


@workflow.defn
class WordCount:
    """Finds the commonest words of many files."""

    @workflow.run
    async def run(self, files: list[str], top: int) -> list[tuple[str, int]]:
        """Return the `top` commonest words with their counts; of equally common ones the first in the alphabet."""
        total: Counter[str] = Counter()
        for start in range(0, len(files), SLICE):
            for counts in await delegate_map(count_words, files[start : start + SLICE]):
                total.update(counts)
        return sorted(total.items(), key=lambda item: (-item[1], item[0]))[:top]
