"""What the relay adds to Sequin's pull API."""

from __future__ import annotations

from typing import Final

GIVES_BACK: Final = "Delegator-Gives-Back"
"""Header of an answer to `receive`. A server that sends it notices when a request's sender is gone, and offers its
messages to others at once. Sequin does not notice, and hides them for 30 seconds."""
