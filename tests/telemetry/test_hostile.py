"""Whatever the network or a forger sends, a trace goes on and can be read."""

from __future__ import annotations

import random

import pytest

from rudp.sim import CorePair, LinkConfig
from rudp.telemetry import tcp
from rudp.telemetry.capture import Capture
from rudp.telemetry.conversation import conversations_of
from rudp.telemetry.guard import Guarded
from rudp.telemetry.pcapng import Reading
from rudp.telemetry.qlog import QlogFile
from rudp.telemetry.qlog_observer import QlogObserver
from rudp.telemetry.qlog_reader import read
from rudp.wire.options import Options
from rudp.wire.segment import Segment, encode

from .observed import Memory, ends

SIZE = 40_000
BAD = LinkConfig(delay_s=0.01, loss=0.1, reorder=0.1, duplicate=0.05, jitter_s=0.005)


def forged(rng: random.Random, cid: int, seq: int) -> bytes:
    """A segment for a connection by someone who has seen some of it."""

    def near() -> int:
        return (seq + rng.choice((0, rng.randint(-70_000, 70_000), rng.getrandbits(32)))) % 2**32

    options = Options(
        mss=rng.choice((None, 0, 65_535)),
        window_scale=rng.choice((None, 0, 14, 255)),
        sack=tuple((near(), near()) for _ in range(rng.randint(0, 5))),
        path_challenge=rng.choice((None, rng.randbytes(8))),
        ecn_counts=rng.choice((None, (1, 2, 3))),
        connection_id=rng.choice((None, rng.getrandbits(32))),
    )
    flags = rng.choice((0x10, 0x18, 0x11, 0x02, 0x12, 0x04, 0x14, 0xD0))
    payload = rng.randbytes(rng.choice((0, 1, 1000)))
    window, ts = rng.getrandbits(16), rng.getrandbits(32)
    return encode(Segment(cid, near(), near(), flags, window, ts, near(), options, payload))


@pytest.mark.parametrize("seed", range(12))
def test_a_trace_under_attack(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(seed)
    capture, qlog = Memory(), Memory()
    observers = (
        Capture(capture, epoch_ns=0, payload_bytes=rng.choice((None, 0, 10))).observer(ends()),
        QlogObserver(QlogFile(qlog, epoch_ns=0, single=ends()), ends()),
    )
    pair = CorePair(seed, BAD)
    pair.a.endpoint._observe = lambda *_: Guarded(observers)
    pair.b.endpoint.listen(10)
    conn = pair.a.endpoint.connect("b", pair.now_s)
    for at in range(60):
        seq = conn.sender.ledger.snd_nxt if at % 2 else conn.receiver.rcv_nxt
        data = forged(rng, conn.local_cid, seq)
        pair.at(0.02 * at, lambda data=data: pair.inject(pair.a, data))  # type: ignore[misc]
    conn.send(bytes(SIZE))
    conn.shutdown()
    pair.flush(pair.a, conn)
    pair.run(200.0)
    failed = [record.__dict__["error"] for record in caplog.records if record.name == "rudp"]
    assert failed == [], f"seed {seed}"

    packets = list(Reading(capture.data))
    assert all(tcp.decode(one.packet, one.missing) is not None for one in packets)
    (connection,) = read(qlog.data.decode())
    assert connection.events
    assert connection.conversation().summary()
    assert connection.recording().samples
    streams = conversations_of(packets)
    assert sum(len(one.steps) for one in streams) == len(connection.conversation().steps)
