"""The textbook's exchange: three-way handshake, piggybacked ACK, half-close.

    python examples/handshake_trace.py

Two bare protocol cores talk over a simulated link of 5 ms each way, with the initial sequence
numbers 1000 and 8000, and the segments that they exchange are printed as a sequence diagram.
No socket is opened and no time passes: this is also how the protocol is tested.
"""

from __future__ import annotations

from rudp import Config
from rudp.sim import CorePair, LinkConfig, Trace

CLIENT = Config(max_datagram_size=1460 + 24)
SERVER = Config(max_datagram_size=1024 + 24)


def exchange() -> Trace:
    """Run the conversation; returns what was sent."""
    trace = Trace()
    pair = CorePair(
        seed=1,
        link=LinkConfig(delay_s=0.005),
        config=CLIENT,
        config_b=SERVER,
        identities=((0xC11E47, 1000), (0x5E47E4, 8000)),
        tap=trace.record,
    )
    client, server = pair.connect()

    client.send(b"twenty bytes of text")
    pair.flush(pair.a, client)
    pair.run_until(lambda: bool(pair.b.received), 1.0)
    server.send(b"ten bytes.")  # leaves at once and carries the ACK
    pair.flush(pair.b, server)
    pair.run(0.1)  # the client has nothing to say: its ACK comes after the delay

    client.shutdown()  # no more from the client, but it still listens
    pair.flush(pair.a, client)
    pair.run(0.1)
    server.send(b"more from the half-open side")
    pair.flush(pair.b, server)
    pair.run(0.1)
    server.shutdown()
    pair.flush(pair.b, server)
    pair.run(30.0)
    return trace


if __name__ == "__main__":
    print(exchange().diagram("client", "server"))
