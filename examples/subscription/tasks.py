"""The job: say whether a means of payment can be charged."""

from __future__ import annotations

from datetime import timedelta

from delegator import delegated


@delegated(start_to_close_timeout=timedelta(seconds=10))
async def is_valid_card(number: str) -> bool:
    """Return whether the check digit of a card number is right (ISO/IEC 7812-1, the Luhn algorithm)."""
    if not (number.isascii() and number.isdigit() and 12 <= len(number) <= 19):
        return False
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
    return (doubled + sum(int(digit) for digit in number[-1::-2])) % 10 == 0
