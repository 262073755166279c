"""The jobs: remove a user's files, and say goodbye by mail. Each may run any number of times."""

from __future__ import annotations

import asyncio
import os
import shutil
import smtplib
from email.message import EmailMessage
from pathlib import Path

from delegator import current_job, delegated

STORE = "OUTBOX_SHOP_STORE"
"""The variable that names the folder of all users' files."""
SMTP = "OUTBOX_SHOP_SMTP"
"""The variable that holds the address of the mail server."""


@delegated
async def remove_files(user: str) -> int:
    """Remove what the store holds under the user's prefix. What an earlier attempt has removed is not there."""
    prefix = Path(os.environ[STORE]) / user
    removed = 0
    for file in sorted(prefix.glob("*")):
        await asyncio.to_thread(file.unlink, missing_ok=True)
        removed += 1
    await asyncio.to_thread(shutil.rmtree, prefix, ignore_errors=True)
    return removed


@delegated
def send_goodbye(email: str) -> None:
    """Send a mail. Its id is the job's, so a mail that is sent again is known as the same one."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "shop@example.com", email, "Your account is deleted"
    mail["Message-ID"] = f"<{current_job().job_id}@shop.example.com>"
    mail.set_content("All your files are gone.")
    host, _, port = os.environ[SMTP].rpartition(":")
    with smtplib.SMTP(host, int(port)) as server:
        server.send_message(mail)
