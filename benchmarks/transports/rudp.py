"""This project, from the checkout that the benchmarks are in."""

from __future__ import annotations

from typing import Any

import rudp
from benchmarks.transports.base import LIMIT_BYTES, Connection, Handler, Transport
from rudp.aio import capabilities
from rudp.congestion import CONTROLLERS


class Rudp(Transport):
    """`rudp.open_connection` and `start_server`, with a `Config` from the transport's name.

    Raises `ValueError` for a word in the name that means nothing, and whatever `rudp.Config`
    raises for values that it does not take.
    """

    def __init__(self, name: str, words: list[str], config: dict[str, Any]) -> None:
        super().__init__(name)
        settings = dict(config)
        for word in words:
            settings.update(_setting(word))
        self.config = rudp.Config(**settings)

    def why_not(self) -> str | None:
        """The batched socket is for Linux."""
        if self.config.io == "batched" and not capabilities.available():
            return "this platform has no batched sockets"
        return None

    async def serve(self, handler: Handler, host: str) -> int:
        """See `Transport`."""
        self._server = await rudp.start_server(
            handler, host, 0, limit=LIMIT_BYTES, config=self.config
        )
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def connect(self, host: str, port: int) -> Connection:
        """See `Transport`."""
        streams = await rudp.open_connection(host, port, limit=LIMIT_BYTES, config=self.config)
        return Connection(*streams)


def _setting(word: str) -> dict[str, Any]:
    if word.isascii() and word.isdigit():
        # The start too: the stock path cannot search, and would stay with 1,200 bytes.
        return {"max_datagram_size": int(word), "base_datagram_size": int(word)}
    if word in ("stock", "batched"):
        return {"io": word}
    if word in CONTROLLERS:
        return {"congestion": word}
    raise ValueError(f"{word!r} is no datagram size, no path to the socket and no controller")
