"""rudp: a reliable byte stream over UDP for asyncio.

`rudp.open_connection()` and `rudp.start_server()` take asyncio's arguments and give asyncio's
`StreamReader` and `StreamWriter`; underneath, TCP's guarantees are kept in user space.
"""

from __future__ import annotations

from rudp.aio.client import create_connection, open_connection
from rudp.aio.delivery import acknowledged, unacknowledged
from rudp.aio.endpoint import Endpoint
from rudp.aio.listen import create_server, start_server
from rudp.aio.loop import new_event_loop, routed
from rudp.aio.server import Server
from rudp.aio.tls import start_tls
from rudp.aio.tracing import TraceFile
from rudp.config import Config
from rudp.core.stats import ConnectionInfo, EndpointStats
from rudp.errors import (
    ConnectionAborted,
    ConnectionRefused,
    ConnectionReset,
    ConnectionTimedOut,
    Reason,
)

__version__ = "0.1.0.dev0"

__all__ = [
    "Config",
    "ConnectionAborted",
    "ConnectionInfo",
    "ConnectionRefused",
    "ConnectionReset",
    "ConnectionTimedOut",
    "Endpoint",
    "EndpointStats",
    "Reason",
    "Server",
    "TraceFile",
    "acknowledged",
    "create_connection",
    "create_server",
    "new_event_loop",
    "open_connection",
    "routed",
    "start_server",
    "start_tls",
    "unacknowledged",
]
