"""What the measurements of a path mean, and what to do about it."""

from __future__ import annotations

import rudp
from rudp.aio import udp
from rudp.cli.address import HostPort
from rudp.cli.doctor.check import Check, Verdict
from rudp.cli.doctor.path import Direction, Measured, measure
from rudp.cli.doctor.service import ProtocolError
from rudp.cli.running import reason
from rudp.cli.text import describe_rate, describe_time
from rudp.errors import ConnectionRefused, Reason

_SOME_LOSS = 0.01
_MUCH_LOSS = 0.2
_LEAST_DATAGRAM_BYTES = 1200
_ETHERNET_BYTES = 1452
"""The UDP payload of an Ethernet under IPv6; IPv4 has 20 bytes more."""


async def check_path(to: HostPort, config: rudp.Config) -> list[Check]:
    """Measure the path to `to` and judge it; what fails is a line of the report, too.

    Cancellation aborts the measurement.
    """
    try:
        measured = await measure(to, config)
    except (OSError, EOFError) as exc:
        return [_unreachable(to, exc)]
    return judge(to, measured)


def _unreachable(to: HostPort, error: Exception) -> Check:
    """Why nothing could be measured, as far as the error tells."""
    advice = "run there: rudp doctor --listen {port}; and look whether UDP port {port} is let in"
    if isinstance(error, ConnectionRefused) and error.reason is Reason.REFUSED:
        advice = "UDP gets there, but nobody listens: run there rudp doctor --listen {port}"
    elif isinstance(error, ConnectionRefused):
        advice = "nobody listens there (run rudp doctor --listen {port}), or there is no way to it"
    elif isinstance(error, ProtocolError | EOFError):
        advice = "something else listens there, or another version: give rudp doctor its own port"
    elif isinstance(error, ConnectionResetError):
        advice = "the other end gave up: is it busy? Try again"
    elif isinstance(error, TimeoutError):
        advice = "no answer: a firewall that drops UDP port {port}, or nobody there; " + advice
    text = f"{to}: {reason(error)}"
    return Check("UDP", Verdict.FAIL, text, advice.format(port=to.port), {"error": reason(error)})


def judge(to: HostPort, measured: Measured) -> list[Check]:
    """The lines of the report for a path that was measured."""
    connect = f"passes to {to} and back; connected in {describe_time(measured.connect_s)}"
    checks = [
        Check("UDP", Verdict.OK, connect, "", {"connect_s": measured.connect_s}),
        _check_address(measured),
        _check_rtt(measured.rtts_s),
    ]
    for name, direction in (("there", measured.there), ("back", measured.back)):
        checks += [
            _check_loss(name, direction),
            _check_mtu(name, direction),
            _check_ecn(name, direction),
        ]
    if measured.version != rudp.__version__:
        found = f"{measured.version} there, {rudp.__version__} here"
        checks.append(Check("version", Verdict.NOTE, found, "", {"version": measured.version}))
    return checks


def _check_address(measured: Measured) -> Check:
    values = {"local": measured.local, "seen": measured.seen}
    host, _, port = measured.local.rpartition(":")
    unknown = host.strip("[]") in udp.ANY_ADDRESS  # of such a socket the port alone is known
    if measured.local == measured.seen or (unknown and measured.seen.endswith(f":{port}")):
        return Check("address", Verdict.OK, f"{measured.seen}, unchanged on the way", "", values)
    found = f"{measured.local} here is seen as {measured.seen} there: a NAT is on the way"
    advice = "set keepalive to 25 s or less: NATs forget UDP after some 30 s of silence"
    return Check("address", Verdict.NOTE, found, advice, values)


def _check_rtt(rtts_s: list[float]) -> Check:
    ordered = sorted(rtts_s)
    least, most, median = ordered[0], ordered[-1], ordered[len(ordered) // 2]
    found = (
        f"{describe_time(median)} (least {describe_time(least)}, most {describe_time(most)}, "
        f"{len(ordered)} round trips)"
    )
    values = {"median_s": median, "min_s": least, "max_s": most}
    if median > 2 * least + 0.05:
        advice = "most of it is waiting: a queue on the way is full, or the radio link is busy"
        return Check("round trip", Verdict.WARN, found, advice, values)
    return Check("round trip", Verdict.OK, found, "", values)


def _check_loss(name: str, direction: Direction) -> Check:
    share = direction.loss
    found = f"{share:.2%} of some {direction.sent_bytes // 64} small datagrams at a low rate"
    values = {"loss": share}
    if share >= _MUCH_LOSS:
        advice = "hardly usable: look for a bad cable, radio link, or a policer of UDP"
        return Check(f"loss {name}", Verdict.FAIL, found, advice, values)
    if share >= _SOME_LOSS:
        advice = "the path loses without load: keep the default controller, which copes with it"
        return Check(f"loss {name}", Verdict.WARN, found, advice, values)
    return Check(f"loss {name}", Verdict.OK, found, "", values)


def _check_mtu(name: str, direction: Direction) -> Check:
    size = direction.datagram_size
    found = f"{size} bytes of UDP payload"
    values = {"datagram_bytes": size, "mtu_state": direction.mtu_state}
    title = f"path MTU {name}"
    if direction.mtu_state == "DISABLED":
        found += ", not searched for"
        advice = "the sender cannot set don't-fragment, or was told not to search"
        return Check(title, Verdict.NOTE, found, advice, values)
    if size < _LEAST_DATAGRAM_BYTES:
        advice = "a tunnel or VPN on the way takes less than every Internet path should"
        return Check(title, Verdict.WARN, found, advice, values)
    if direction.mtu_state != "SEARCH_COMPLETE":
        return Check(title, Verdict.NOTE, f"{found} at least", "the search took too long", values)
    if size < _ETHERNET_BYTES:
        advice = "less than an Ethernet takes: a tunnel, VPN or PPPoE is on the way"
        return Check(title, Verdict.NOTE, found, advice, values)
    rate = describe_rate(direction.bytes_per_s)
    return Check(title, Verdict.OK, f"{found}; took {rate} meanwhile", "", values)


def _check_ecn(name: str, direction: Direction) -> Check:
    title, values = f"ECN {name}", {"ecn": direction.ecn}
    if direction.ecn == "CAPABLE":
        return Check(title, Verdict.OK, "marks arrive unchanged", "", values)
    if direction.ecn == "OFF":
        found = "not used: the path clears or drops marks, or an end cannot mark"
        return Check(title, Verdict.NOTE, found, "", values)
    return Check(title, Verdict.NOTE, "no verdict yet", "", values)
