"""The job ids of one workflow run."""

from __future__ import annotations

from delegator.wire.outcomes import Reply
from delegator.wire.requests import (
    check_job_id,
    check_unique_id,
    generated_job_id,
    own_job_id,
    own_part,
)


class JobIds:
    """Makes the job ids of a run, and knows those that its callers chose."""

    __slots__ = ("_chosen", "_run_id")

    def __init__(self, run_id: str) -> None:
        """Start without chosen ids.

        Args:
            run_id: the run.
        """
        self._run_id = run_id
        self._chosen: set[str] = set()

    def chosen(self, job_id: str | None, unique_id: str | None) -> str | None:
        """Return the job id that a caller chooses; None: it chooses none.

        Args:
            job_id: an id within this run.
            unique_id: an id across workflows.

        Raises:
            ValueError: it can't be an id, or both are given.
        """
        if unique_id is not None:
            if job_id is not None:
                raise ValueError("give a job_id or a unique_id, not both")
            check_unique_id(unique_id)
            return unique_id
        if job_id is None:
            return None
        check_job_id(job_id)
        return own_job_id(self._run_id, job_id)

    def use(self, job_id: str) -> None:
        """Note that a call has a chosen id.

        Raises:
            ValueError: another call of this run had it.
        """
        if job_id in self._chosen:
            shown = own_part(job_id, self._run_id) or job_id
            raise ValueError(f"job id {shown!r} was already used in this workflow run")
        self._chosen.add(job_id)

    def is_used(self, job_id: str, next_sequence: int) -> bool:
        """Return whether a call of this run has or had an id.

        Args:
            job_id: the id.
            next_sequence: the sequence number of the next call without a chosen id.
        """
        prefix, _, sequence = job_id.rpartition(":")
        if prefix == self._run_id and sequence.isdigit():
            return int(sequence) < next_sequence
        return job_id in self._chosen

    def may_differ(self, reply: Reply) -> bool:
        """Return whether the jobs of a reply may have been enqueued under other ids than the code gives them now."""
        return reply.id_prefix != self._run_id or reply.asked.calls is None

    def recorded(self, job_id: str | None, sequence: int, reply: Reply) -> str:
        """Return the id under which a job was enqueued: before this run was reset, or by an older release.

        Args:
            job_id: the chosen id; None: there is none.
            sequence: the call's sequence number.
            reply: the reply to the request.
        """
        if job_id is None:
            return generated_job_id(reply.id_prefix, sequence)
        own = own_part(job_id, self._run_id)
        if own is None:
            return job_id
        # A release that does not say how many jobs each call has took chosen ids as they were.
        return own if reply.asked.calls is None else own_job_id(reply.id_prefix, own)
