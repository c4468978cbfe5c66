"""Hole punching in virtual time: RFC 5128 §3.3, with RFC 9293 §3.5's simultaneous open."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest
from aio.support import Simulate, echo, end, round_trip

import rudp
from rudp.sim import (
    FULL_CONE,
    PORT_RESTRICTED_CONE,
    SYMMETRIC,
    LinkConfig,
    NatConfig,
    Network,
)

from .support import (
    ALICE,
    BOB,
    CLOSED,
    CONFIG,
    DELAY_S,
    KINDS,
    PORT,
    WORD,
    Streams,
    build,
    converse,
    mirror,
    outside,
    punch,
)

Bound = tuple[rudp.Endpoint, rudp.Endpoint]
ROUND_TRIP_S = 2 * DELAY_S


def meet(
    network: Network,
    rudp_sim: Simulate,
    then: Callable[[rudp.Endpoint, rudp.Endpoint], object],
) -> None:
    """Run a coroutine function with alice's and bob's endpoints."""

    async def main() -> None:
        async with (
            mirror(network),
            rudp.Endpoint.bind(ALICE, PORT, config=CONFIG) as a,
            rudp.Endpoint.bind(BOB, PORT, config=CONFIG) as b,
        ):
            await then(a, b)  # type: ignore[misc]

    rudp_sim(main)


async def both(
    a: rudp.Endpoint, b: rudp.Endpoint, skew_s: float = 0.0
) -> tuple[Streams | BaseException, Streams | BaseException]:
    """Let the two dial each other, bob `skew_s` later (alice, if it is negative)."""
    at_alices, at_bobs = await asyncio.gather(outside(a), outside(b))
    alice, bob = await asyncio.gather(
        punch(a, at_bobs, max(0.0, -skew_s)),
        punch(b, at_alices, max(0.0, skew_s)),
        return_exceptions=True,
    )
    return alice, bob


async def met(a: rudp.Endpoint, b: rudp.Endpoint, skew_s: float = 0.0) -> tuple[Streams, Streams]:
    """As `both`, where it has to succeed, in one connection that each dialled."""
    alice, bob = await both(a, b, skew_s)
    if isinstance(alice, BaseException) or isinstance(bob, BaseException):
        raise AssertionError(f"alice: {alice!r}, bob: {bob!r}")
    assert (a.stats.opened, b.stats.opened) == (2, 2), "the server, and each other"
    assert (a.stats.accepted, b.stats.accepted) == (0, 0)
    return alice, bob


def pairs(possible: bool) -> list[tuple[str, str]]:
    return [
        (one, other)
        for one, other in itertools.product(KINDS, repeat=2)
        if (frozenset((one, other)) not in CLOSED) == possible
    ]


@pytest.mark.parametrize(("alice", "bob"), pairs(True))
@pytest.mark.parametrize("skew_s", [0.0, 0.05, 1.3, -5.0])
def test_two_nats_with_a_way_between_them(
    rudp_network: Network, rudp_sim: Simulate, alice: str, bob: str, skew_s: float
) -> None:
    """However the two starts are apart, both dials are one connection soon after the later."""
    build(rudp_network, KINDS[alice], KINDS[bob])

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        loop = asyncio.get_running_loop()
        one, other = await met(a, b, skew_s)
        assert (a.connection_count, b.connection_count) == (1, 1)
        late_s = loop.time() - 4 * ROUND_TRIP_S - abs(skew_s)
        assert late_s < CONFIG.punch_interval + ROUND_TRIP_S
        await converse(one, other)

    meet(rudp_network, rudp_sim, then)


@pytest.mark.parametrize(("alice", "bob"), pairs(False))
def test_two_nats_without_a_way_between_them(
    rudp_network: Network, rudp_sim: Simulate, alice: str, bob: str
) -> None:
    """RFC 5128 §3.3.5: both are told in time, with what there is to catch, and nothing stays."""
    build(rudp_network, KINDS[alice], KINDS[bob])

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        for result in await both(a, b):
            assert isinstance(result, rudp.ConnectionTimedOut)
            assert isinstance(result, TimeoutError)
            assert result.reason is rudp.Reason.CONNECT_TIMEOUT
        assert asyncio.get_running_loop().time() < CONFIG.connect_timeout + 1.0
        assert (a.connection_count, b.connection_count) == (0, 0)

    meet(rudp_network, rudp_sim, then)


@pytest.mark.parametrize("kind", ["full cone", "port restricted cone"])
@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_punching_over_lossy_links(
    rudp_network: Network, rudp_sim: Simulate, kind: str, loss: float
) -> None:
    build(rudp_network, KINDS[kind])
    patient = CONFIG.replace(connect_timeout=180.0)

    async def dial(endpoint: rudp.Endpoint, peer: tuple[str, int]) -> Streams:
        return await endpoint.open_connection(*peer, rendezvous=WORD, config=patient)

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        at_alices, at_bobs = await asyncio.gather(outside(a), outside(b))
        rudp_network.default = LinkConfig(delay_s=DELAY_S, jitter_s=DELAY_S, loss=loss)
        await converse(*await asyncio.gather(dial(a, at_bobs), dial(b, at_alices)))

    meet(rudp_network, rudp_sim, then)


@pytest.mark.parametrize("kind", ["restricted cone", "port restricted cone"])
@pytest.mark.parametrize("skew_s", [0.03, 3.0])
def test_nats_that_refuse_what_they_do_not_expect(
    rudp_network: Network, rudp_sim: Simulate, kind: str, skew_s: float
) -> None:
    """ "Port unreachable" from the peer's NAT is no answer of the peer's."""
    homes = build(rudp_network, KINDS[kind].replace(refuses=True))

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        await converse(*await met(a, b, skew_s))

    meet(rudp_network, rudp_sim, then)
    assert rudp_network.stats.refused > 0
    assert homes.bob.stats.filtered > 0


def test_a_plain_dial_is_ended_by_such_a_refusal(rudp_network: Network, rudp_sim: Simulate) -> None:
    """RFC 9293 §3.9.2.2: as it should be where nobody has to open a way first."""
    build(rudp_network, PORT_RESTRICTED_CONE.replace(refuses=True))

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        at_bobs = await outside(b)
        with pytest.raises(ConnectionRefusedError):
            await a.open_connection(*at_bobs)

    meet(rudp_network, rudp_sim, then)


@pytest.mark.parametrize("kind", ["full cone", "port restricted cone"])
@pytest.mark.parametrize("skew_s", [0.0, 2.0])
def test_endpoints_that_listen_too(
    rudp_network: Network, rudp_sim: Simulate, kind: str, skew_s: float
) -> None:
    """A dial with a rendezvous is for the dial at the other end, whichever of them comes first;
    the servers of both endpoints go on serving whom they are for."""
    build(rudp_network, KINDS[kind])

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        await a.start_server(echo)
        await b.start_server(echo)
        one, other = await met(a, b, skew_s)
        at_bobs = one[1].get_extra_info("peername")
        plain = await a.open_connection(*at_bobs)
        assert await round_trip(*plain) == b"alive"
        assert (a.stats.accepted, b.stats.accepted) == (0, 1)
        await end(plain[1])
        await converse(one, other)

    meet(rudp_network, rudp_sim, then)


@pytest.mark.parametrize("kind", ["full cone", "port restricted cone"])
def test_a_plain_simultaneous_open_passes_cones_too(
    rudp_network: Network, rudp_sim: Simulate, kind: str
) -> None:
    """RFC 9293 MUST-10, RFC 5128 §3.3: without a rendezvous where the ports stay what they were;
    it takes until the first SYN is repeated."""
    build(rudp_network, KINDS[kind])

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        at_alices, at_bobs = await asyncio.gather(outside(a), outside(b))
        one, other = await asyncio.gather(
            a.open_connection(*at_bobs), b.open_connection(*at_alices)
        )
        await converse(one, other)

    meet(rudp_network, rudp_sim, then)


def test_one_side_is_public(rudp_network: Network, rudp_sim: Simulate) -> None:
    """RFC 5128 §3.2 (connection reversal): the public side dials as well, whatever the NAT."""
    build(rudp_network, SYMMETRIC)
    rudp_network.add_host("198.51.100.9", name="public")

    async def main() -> None:
        async with (
            mirror(rudp_network),
            rudp.Endpoint.bind(ALICE, PORT, config=CONFIG) as a,
            rudp.Endpoint.bind("198.51.100.9", PORT, config=CONFIG) as b,
        ):
            await converse(*await met(a, b))

    rudp_sim(main)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hairpin", [False, True])
def test_two_behind_the_same_nat(
    rudp_network: Network, rudp_sim: Simulate, kind: str, hairpin: bool
) -> None:
    """RFC 5128 §3.3.2: at the outside addresses where the NAT hairpins, else at the inside ones."""
    homes = build(rudp_network, KINDS[kind].replace(hairpin=hairpin))
    rudp_network.add_host("192.168.1.3", name="carol", behind=homes.alice)

    async def main() -> None:
        async with (
            mirror(rudp_network),
            rudp.Endpoint.bind(ALICE, PORT, config=CONFIG) as a,
            rudp.Endpoint.bind("192.168.1.3", PORT, config=CONFIG) as b,
        ):
            one, other = await both(a, b)
            if hairpin and kind != "symmetric":
                assert not isinstance(one, BaseException)
                assert not isinstance(other, BaseException)
                await converse(one, other)
            else:
                assert isinstance(one, TimeoutError)
                assert isinstance(other, TimeoutError)
            inside = await asyncio.gather(punch(a, ("192.168.1.3", PORT)), punch(b, (ALICE, PORT)))
            await converse(*inside)

    rudp_sim(main)


def test_nats_behind_a_providers_nat(rudp_network: Network, rudp_sim: Simulate) -> None:
    """RFC 5128 §3.3.4: two homes at one provider, whose NAT has to hairpin."""
    network = rudp_network
    network.default = LinkConfig(delay_s=DELAY_S)
    network.add_host("198.51.100.1", name="server")
    provider = network.add_nat("203.0.113.1", PORT_RESTRICTED_CONE)
    for inside, outside_address in ((ALICE, "100.64.0.1"), (BOB, "100.64.0.2")):
        home = network.add_nat(outside_address, PORT_RESTRICTED_CONE, behind=provider)
        network.add_host(inside, behind=home)

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        one, other = await met(a, b)
        assert one[1].get_extra_info("peername")[0] == provider.address
        await converse(one, other)

    meet(network, rudp_sim, then)


def test_a_nat_rebinds_between_the_meeting_and_the_talk(
    rudp_network: Network, rudp_sim: Simulate
) -> None:
    """Path validation moves a punched connection too, if the other filter lets the new port in."""
    homes = build(rudp_network, KINDS["restricted cone"])

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        one, other = await met(a, b)
        homes.alice.rebind()
        await converse(one, other)

    meet(rudp_network, rudp_sim, then)
    assert homes.alice.stats.mapped == 2


@pytest.mark.parametrize(("alice", "bob"), [("symmetric", "restricted cone"), ("full cone",) * 2])
def test_many_dials_between_two_endpoints_at_once(
    rudp_network: Network, rudp_sim: Simulate, alice: str, bob: str
) -> None:
    """Each finds the one with the same word, though they all have the same two addresses."""
    build(rudp_network, KINDS[alice], KINDS[bob])
    rudp_network.default = LinkConfig(delay_s=DELAY_S, jitter_s=DELAY_S, loss=0.05)
    words = [b"word %d" % number for number in range(30)]

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        at_alices, at_bobs = await asyncio.gather(outside(a), outside(b))
        dialled = await asyncio.gather(
            *(punch(a, at_bobs, word=word) for word in words),
            *(punch(b, at_alices, word=word) for word in reversed(words)),
        )
        ones, others = dialled[: len(words)], dialled[: len(words) - 1 : -1]
        await asyncio.gather(*(converse(*pair) for pair in zip(ones, others, strict=True)))

    meet(rudp_network, rudp_sim, then)


def test_a_mesh_of_peers(rudp_network: Network, rudp_sim: Simulate) -> None:
    """One socket a peer: it talks to the server, serves, and is dialled by and dials six others."""
    network = rudp_network
    network.default = LinkConfig(delay_s=DELAY_S, jitter_s=0.01, loss=0.02)
    network.add_host("198.51.100.1", name="server")
    kinds = [*KINDS.values(), FULL_CONE, PORT_RESTRICTED_CONE.replace(ports="random")]
    kinds.remove(SYMMETRIC)
    kinds.append(NatConfig(filtering=FULL_CONE.filtering, ports="random"))
    for number, kind in enumerate(kinds):
        home = network.add_nat(f"203.0.113.{number + 1}", kind)
        network.add_host(f"192.168.{number}.2", behind=home)

    async def talk(endpoint: rudp.Endpoint, me: int, peer: int, where: tuple[str, int]) -> None:
        word = b"%d-%d" % (min(me, peer), max(me, peer))
        reader, writer = await punch(endpoint, where, word=word)
        writer.write(b"%d" % me)
        writer.write_eof()
        assert await reader.read() == b"%d" % peer
        await end(writer)

    async def live(me: int, places: dict[int, asyncio.Future[tuple[str, int]]]) -> None:
        async with rudp.Endpoint.bind(f"192.168.{me}.2", PORT, config=CONFIG) as endpoint:
            await endpoint.start_server(echo)
            places[me].set_result(await outside(endpoint))
            others = [peer for peer in places if peer != me]
            wheres = await asyncio.gather(*(places[peer] for peer in others))
            await asyncio.gather(
                *(
                    talk(endpoint, me, peer, where)
                    for peer, where in zip(others, wheres, strict=True)
                )
            )
            assert endpoint.stats.accepted == 0
            await asyncio.sleep(60.0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        places = {number: loop.create_future() for number in range(len(kinds))}
        async with mirror(network):
            await asyncio.gather(*(live(number, places) for number in places))

    rudp_sim(main)


def test_cancellation_leaves_nothing(rudp_network: Network, rudp_sim: Simulate) -> None:
    """And the word may be used again, by the same endpoint."""
    build(rudp_network, PORT_RESTRICTED_CONE)

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        at_alices, at_bobs = await asyncio.gather(outside(a), outside(b))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await punch(a, at_bobs)
        assert a.connection_count == 0
        one, other = await asyncio.gather(punch(a, at_bobs), punch(b, at_alices))
        await converse(one, other)

    meet(rudp_network, rudp_sim, then)


def test_the_other_gave_up_and_dials_again(rudp_network: Network, rudp_sim: Simulate) -> None:
    """What bob sends gets lost: he has met alice, she does not know, gives up and comes again."""
    build(rudp_network, FULL_CONE)

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        at_alices, at_bobs = await asyncio.gather(outside(a), outside(b))
        rudp_network.partition("bobs", "alices", both=False)
        bobs = asyncio.create_task(punch(b, at_alices))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await punch(a, at_bobs)
        rudp_network.heal("bobs", "alices")
        one, other = await asyncio.gather(punch(a, at_bobs), bobs)
        await converse(one, other)

    meet(rudp_network, rudp_sim, then)


@pytest.mark.parametrize("word", ["text", b"", bytes(17)])
def test_impossible_words(rudp_network: Network, rudp_sim: Simulate, word: object) -> None:
    build(rudp_network, FULL_CONE)

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        with pytest.raises((TypeError, ValueError), match="rendezvous must"):
            await a.open_connection("server", 1, rendezvous=word)  # type: ignore[arg-type]
        assert a.connection_count == 0

    meet(rudp_network, rudp_sim, then)


def test_a_word_in_use(rudp_network: Network, rudp_sim: Simulate) -> None:
    build(rudp_network, FULL_CONE)

    async def then(a: rudp.Endpoint, b: rudp.Endpoint) -> None:
        first = asyncio.create_task(punch(a, ("198.51.100.77", 1)))
        await asyncio.sleep(0.1)
        with pytest.raises(OSError, match="rendezvous already"):
            await a.open_connection("198.51.100.78", 1, rendezvous=WORD)
        first.cancel()
        await asyncio.wait([first])

    meet(rudp_network, rudp_sim, then)
