"""`python -m examples.payments.provider.mail`: a mail server that keeps what it gets in a Maildir.

It refuses recipients by their names: `gone-...` for ever, `later-...` for the first time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP, Envelope, Session

from examples.payments.service import run_service, setting


class Mails(Mailbox):
    """Keeps mails, and refuses some recipients."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._seen: Counter[str] = Counter()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient or refuse it."""
        self._seen[address] += 1
        if address.startswith("gone-"):
            return "550 no such mailbox"
        if address.startswith("later-") and self._seen[address] == 1:
            return "451 try again"
        envelope.rcpt_tos.append(address)
        return "250 OK"


@asynccontextmanager
async def mail_server(port: int) -> AsyncIterator[None]:
    """Run the server."""
    mails = Mails(Path(setting("PAYMENTS_MAILBOX", "mailbox")))
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(mails), "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


if __name__ == "__main__":
    run_service(mail_server)
