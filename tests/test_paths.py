"""A peer that changes its address (docs/protocol.md, "Changing addresses"; cf. RFC 9000 §9)."""

from __future__ import annotations

import pytest

from rudp.core.connection import Connection
from rudp.core.states import State
from rudp.sim import CorePair, LinkConfig
from rudp.wire.options import NONE
from rudp.wire.segment import ACK, PSH, RST, Segment, decode, encode
from rudp.wire.seq import to_wire


@pytest.fixture
def pair() -> CorePair:
    return CorePair(7, LinkConfig(delay_s=0.01))


def from_client(client: Connection, pair: CorePair, payload: bytes, **changes: object) -> bytes:
    """A segment as the client would send it next; data counts as sent."""
    segment = Segment(
        client.peer_cid,
        to_wire(client.sender.ledger.snd_nxt),
        to_wire(client.receiver.rcv_nxt),
        ACK | PSH,
        0xFFFF,
        client.timestamp(pair.now_s),
        client.receiver.ts_recent,
        NONE,
        payload,
    )
    if payload:
        client.send(payload)
        while client.poll(pair.now_s) is not None:
            pass
    return encode(segment._replace(**changes))  # type: ignore[arg-type]


def challenges(pair: CorePair) -> list[bytes]:
    outbox = pair.b.endpoint.outbox
    segments = [decode(train.datagrams()[0]) for address, train in outbox if address == "new"]
    outbox.clear()
    tokens = [s.options.path_challenge for s in segments if isinstance(s, Segment)]
    return [token for token in tokens if token is not None]


def deliver(pair: CorePair, datagram: bytes, address: str) -> None:
    """Hand the server a datagram from `address` without sending what it answers."""
    pair.b.endpoint.receive(datagram, len(datagram), address, pair.now_s)


def test_data_from_a_new_address_is_taken_and_the_address_challenged(pair: CorePair) -> None:
    client, server = pair.connect()
    deliver(pair, from_client(client, pair, b"hello"), "new")
    assert b"".join(server.receiver.take()) == b"hello"
    assert server.peer == "a"
    assert len(challenges(pair)) == 1


def test_the_connection_moves_only_when_the_challenge_comes_back(pair: CorePair) -> None:
    client, server = pair.connect()
    deliver(pair, from_client(client, pair, b"hello"), "new")
    (token,) = challenges(pair)
    wrong = NONE._replace(path_response=bytes(8))
    deliver(pair, from_client(client, pair, b"", flags=ACK, options=wrong), "new")
    assert server.peer == "a"
    right = NONE._replace(path_response=token)
    deliver(pair, from_client(client, pair, b"", flags=ACK, options=right), "elsewhere")
    assert server.peer == "a"
    deliver(pair, from_client(client, pair, b"", flags=ACK, options=right), "new")
    assert server.peer == "new"
    assert server.stats.path_changes == 1


def test_what_was_in_flight_to_the_old_address_is_sent_again(pair: CorePair) -> None:
    client, server = pair.connect()
    server.send(bytes(5000))
    while server.poll(pair.now_s) is not None:
        pass
    assert server.sender.ledger.in_flight == 5000
    deliver(pair, from_client(client, pair, b"x"), "new")
    response = NONE._replace(path_response=challenges(pair)[0])
    deliver(pair, from_client(client, pair, b"", flags=ACK, options=response), "new")
    assert server.sender.ledger.in_flight == 0
    assert server.sender.rtt.srtt_s is None
    train = server.poll(pair.now_s)
    assert train is not None
    first = decode(train.datagrams()[0])
    assert isinstance(first, Segment)
    assert first.seq == to_wire(server.sender.iss + 1)


def test_a_challenge_is_answered_with_its_eight_bytes(pair: CorePair) -> None:
    client, _ = pair.connect()
    asked = NONE._replace(path_challenge=b"8 random")
    segment = Segment(
        client.local_cid,
        to_wire(client.receiver.rcv_nxt),
        to_wire(client.sender.ledger.snd_nxt),
        ACK,
        0xFFFF,
        client.receiver.ts_recent,
        0,
        asked,
    )
    client.arrive(segment, pair.now_s)
    train = client.poll(pair.now_s)
    assert train is not None
    answer = decode(train.datagrams()[0])
    assert isinstance(answer, Segment)
    assert answer.options.path_response == b"8 random"


def test_an_overtaken_segment_does_not_start_a_move(pair: CorePair) -> None:
    client, _ = pair.connect()
    old = from_client(client, pair, b"", flags=ACK)
    pair.run(0.2)
    client.send(b"newer")
    pair.flush(pair.a, client)
    pair.run(0.2)
    deliver(pair, old, "new")
    assert challenges(pair) == []


def test_challenges_to_one_address_are_rate_limited(pair: CorePair) -> None:
    client, _ = pair.connect()
    for _ in range(50):
        deliver(pair, from_client(client, pair, b"", flags=ACK), "new")
    assert len(challenges(pair)) == 1
    pair.run(1.0)
    deliver(pair, from_client(client, pair, b"", flags=ACK), "new")
    assert len(challenges(pair)) == 1


def test_who_knows_only_the_id_draws_no_challenge(pair: CorePair) -> None:
    """The challenge tells our sequence numbers, and ids of many connections can be hit by
    chance: SEQ and ACK have to be right too (RFC 5961's reasoning)."""
    client, server = pair.connect()
    for changes in ({"seq": 1}, {"ack": 1}, {"flags": PSH | RST}):
        deliver(pair, from_client(client, pair, b"", **{"flags": ACK, **changes}), "new")
    assert challenges(pair) == []
    assert server.path_probe is None


def test_a_reset_from_another_address_counts_as_a_stranger(pair: CorePair) -> None:
    client, server = pair.connect()
    deliver(pair, from_client(client, pair, b"", flags=RST), "new")
    assert server.state is State.ESTABLISHED
    assert pair.b.endpoint.stats.wrong_address == 1


def test_a_syn_ack_may_come_from_another_address_of_the_server(pair: CorePair) -> None:
    """A server with several addresses answers from whichever its system routes by."""
    pair.b.endpoint.listen(10)
    client = pair.a.endpoint.connect("b2", pair.now_s)
    pair.flush(pair.a, client)
    assert pair.run_until(lambda: client.state is State.ESTABLISHED, 1.0)
    assert client.peer == "b"
    pair.run(1.0)
    assert [conn.state for conn in pair.b.accepted] == [State.ESTABLISHED]


@pytest.mark.parametrize("loss", [0.0, 0.03])
def test_a_transfer_survives_a_change_of_address(loss: float, request: object) -> None:
    """A whole asyncio program; the client moves in the middle of its upload."""
    import asyncio

    import rudp
    from rudp import sim

    network = sim.Network(11, sim.LinkConfig(delay_s=0.02, loss=loss, rate_bytes_per_s=2e6))
    network.add_host("10.0.0.1", name="client")
    network.add_host("10.0.0.2", name="server")
    data = bytes(range(256)) * 2000

    async def main() -> tuple[bytes, bytes]:
        got = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.set_result(await reader.read())
            writer.write(b"thanks")
            writer.close()
            await writer.wait_closed()

        with network.host("server"):
            server = await rudp.start_server(serve, "10.0.0.2", 7000)
        with network.host("client"):
            reader, writer = await rudp.open_connection("server", 7000)
        for at in range(0, len(data), 16_000):
            writer.write(data[at : at + 16_000])
            await writer.drain()
            if at == 160_000:
                network.change_address("10.0.0.1", "10.0.0.99")
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return await got, answer

    received, answer = sim.run(main(), network=network)
    assert received == data
    assert answer == b"thanks"
