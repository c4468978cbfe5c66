"""The TLS arguments of asyncio's functions: accepted as far as they ask for nothing."""

from __future__ import annotations


def check_absent(
    ssl: object,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> None:
    """Raise `ValueError` for arguments that ask for TLS, which is not supported yet, and, as
    asyncio does, for those that mean nothing without it."""
    if ssl:
        raise ValueError("ssl is not supported yet: connections are not encrypted")
    if server_hostname is not None:
        raise ValueError("server_hostname is only meaningful with ssl")
    if ssl_handshake_timeout is not None:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if ssl_shutdown_timeout is not None:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")
