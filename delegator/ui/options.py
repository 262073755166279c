"""The options of the page."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio.converter import DataConverter

from delegator.errors import ConfigurationError
from delegator.runtime.server_tls import TlsFiles, refuse_open
from delegator.runtime.tokens import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class UiOptions:
    """Options of a page."""

    tokens: Tokens
    """With which people log in. Without one the page only reads."""
    converter: DataConverter
    """Encodes the outcomes of canceled jobs."""
    read_only: bool = False
    """Change nothing, even for those who have logged in."""
    codec_url: str | None = None
    """Base URL of the codec server that decodes payloads; None: no payload is shown."""
    codec_token: str | None = None
    """Its token."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8090
    """Port to listen on; 0 takes a free one."""
    tls: TlsFiles | None = None
    """Its certificate; None: it serves plain HTTP."""

    def __post_init__(self) -> None:
        if self.codec_url is not None and not self.codec_url.startswith(("http://", "https://")):
            raise ConfigurationError(f"--codec-url {self.codec_url}: not the URL of a codec server (http://host:port)")
        refuse_open(
            self.host,
            has_token=self.tokens.required,
            server="the page",
            cure="give --token-file or DELEGATOR_UI_TOKEN",
        )

    @property
    def may_change(self) -> bool:
        """Whether people who have logged in may change things."""
        return self.tokens.required and not self.read_only
