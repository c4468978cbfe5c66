"""A certificate authority of the tests' own, and contexts for both sides of TLS."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterable

import trustme

NAMES = ("localhost", "127.0.0.1", "right", "10.0.0.2")
"""The names that the servers' certificate has."""
CLIENT_NAME = "client.example"
_LONG_AGO = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
_LESS_LONG_AGO = datetime.datetime(2002, 1, 1, tzinfo=datetime.UTC)


class Certificates:
    """What a test needs to speak TLS with itself."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self._server = self._authority.issue_cert(*NAMES)
        self._expired = self._authority.issue_cert(
            *NAMES, not_before=_LONG_AGO, not_after=_LESS_LONG_AGO
        )
        self._client = self._authority.issue_cert(CLIENT_NAME)

    def server_context(
        self, *, expired: bool = False, asks_for_certificate: bool = False
    ) -> ssl.SSLContext:
        """A server's context; that of a test which asks for the client's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (self._expired if expired else self._server).configure_cert(context)
        if asks_for_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            self._authority.configure_trust(context)
        return context

    def client_context(
        self,
        *,
        trusts: bool = True,
        with_certificate: bool = False,
        version: ssl.TLSVersion | None = None,
        ignores_cut_off: bool = False,
    ) -> ssl.SSLContext:
        """A client's context, which verifies certificate and name."""
        context = ssl.create_default_context()
        if trusts:
            self._authority.configure_trust(context)
        if with_certificate:
            self._client.configure_cert(context)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if ignores_cut_off:
            context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
        return context


def names_of(peercert: dict[str, Iterable[tuple[str, str]]]) -> set[str]:
    """The names in what `get_extra_info("peercert")` gave."""
    return {name for _, name in peercert["subjectAltName"]}
