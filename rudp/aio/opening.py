"""A connection on the way to being established."""

from __future__ import annotations

import asyncio

from rudp.core.connection import Connection
from rudp.core.states import State
from rudp.errors import Reason, error_for


class Opening:
    """The owner of a connection that is being opened: tells the opener what becomes of it."""

    def __init__(self, conn: Connection, opened: asyncio.Future[None]) -> None:
        self._conn = conn
        self._opened = opened

    def dispatch(self) -> None:
        """Resolve the future once the connection is established or gone."""
        conn, opened = self._conn, self._opened
        if opened.done():
            return
        if conn.state is State.CLOSED:
            opened.set_exception(error_for(conn.reason or Reason.ABORTED))
        elif conn.state >= State.ESTABLISHED:
            opened.set_result(None)
