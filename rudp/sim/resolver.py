"""What ``getaddrinfo`` answers on a simulated network. Nothing is asked outside of it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, TypeAlias

from rudp.sim.address import WILDCARDS, socket_address, version

if TYPE_CHECKING:
    from rudp.sim.address import Address
    from rudp.sim.directory import HostDirectory

__all__ = ["FAMILIES", "AddressInfo", "address_infos", "address_pairs"]

AddressInfo: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

_PROTOCOLS = {socket.SOCK_STREAM: socket.IPPROTO_TCP, socket.SOCK_DGRAM: socket.IPPROTO_UDP}
_ANY: dict[int, Address] = {FAMILIES[version(ip)]: socket_address(ip, 0) for ip in WILDCARDS}


def address_infos(
    hosts: HostDirectory,
    host: bytes | str | None,
    port: bytes | str | int | None,
    family: int,
    kind: int,
    proto: int,
    flags: int,
) -> list[AddressInfo]:
    """Do what ``socket.getaddrinfo`` does.

    Raises:
        socket.gaierror: The name is unknown in that family, or `port` is not a number.
    """
    name = host.decode() if isinstance(host, bytes) else host
    try:
        number = int(port or 0)
    except ValueError:
        raise socket.gaierror(socket.EAI_SERVICE, f"unknown service: {port!r}") from None
    kinds = [socket.SocketKind(kind)] if kind else list(_PROTOCOLS)
    infos: list[AddressInfo] = []
    for ip in hosts.resolve(name, passive=bool(flags & socket.AI_PASSIVE)):
        found = FAMILIES[version(ip)]
        if family in (0, found):
            address = socket_address(ip, number)
            infos += [
                (found, kind, proto or _PROTOCOLS.get(kind, 0), "", address) for kind in kinds
            ]
    if not infos:
        raise socket.gaierror(socket.EAI_NONAME, f"no such host in the network: {name!r}")
    return infos


def address_pairs(
    hosts: HostDirectory,
    local_addr: tuple[str, int] | None,
    remote_addr: tuple[str, int] | None,
    family: int,
    flags: int,
) -> list[tuple[Address, Address | None]]:
    """Resolve the two addresses of a datagram endpoint, and pair those of one family.

    A local address that is not given is a wildcard with port 0.

    Raises:
        TypeError: An address is not a tuple of host and port.
        ValueError: The two have no family in common.
        socket.gaierror: See `address_infos`.
    """

    def resolve(address: Any) -> list[tuple[int, Address]]:
        if not isinstance(address, tuple) or len(address) < 2:
            raise TypeError(f"an address must be a tuple of host and port, got {address!r}")
        host, port = address[:2]
        infos = address_infos(hosts, host, port, family, socket.SOCK_DGRAM, 0, flags)
        return [(info[0], info[4]) for info in infos]

    if remote_addr is None:
        if local_addr is None:
            return [(_ANY[family], None)]
        return [(local, None) for _, local in resolve(local_addr)]
    remotes = resolve(remote_addr)
    locals_ = list(_ANY.items()) if local_addr is None else resolve(local_addr)
    pairs: list[tuple[Address, Address | None]] = [
        (local, remote) for found, remote in remotes for other, local in locals_ if other == found
    ]
    if not pairs:
        raise ValueError("can not get address information")
    return pairs
