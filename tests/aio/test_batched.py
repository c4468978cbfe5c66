"""The batched transport on real sockets: trains whole and in order, marks, life and death."""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import socket
import weakref
from typing import Any

import pytest

from rudp.aio import trains
from rudp.aio.batched import BatchedTransport
from rudp.aio.capabilities import Capabilities
from rudp.wire.train import Train

from .batched_support import (
    LINUX_ONLY,
    NOTHING,
    Recorder,
    pair,
    train_of,
    transport_on,
    turns,
    udp_socket,
)
from .support import RunReal

pytestmark = LINUX_ONLY
_IP_RECVERR = 11  # <linux/in.h>
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])


@FAMILIES
def test_trains_arrive_whole_and_in_order(run_real: RunReal, family: int) -> None:
    sent = [train_of(*[1200] * 53, 700, first=100 * number) for number in range(8)]

    async def main() -> None:
        with pair(family) as both:
            for train in sent:
                assert both.send(train) is None
            await both.receiver.arrived(8 * (53 * 1200 + 700))
            assert both.receiver.datagrams == [one for train in sent for one in train.datagrams()]
            assert {one[1:] for one in both.receiver.trains} == {
                (1200, both.left_socket.getsockname(), 0)
            }
            io = both.right.get_extra_info("rudp_io")
            if both.left.get_extra_info("rudp_io")["gso"]:
                assert both.left_socket.sends == [1200] * 8
            if io["gro"]:
                assert len(both.receiver.trains) == 8

    run_real(main())


@pytest.mark.parametrize(("size", "count"), [(1000, 200), (40, 333), (30_000, 5), (65_507, 2)])
def test_what_the_kernel_does_not_take_at_once_goes_in_runs(
    run_real: RunReal, size: int, count: int
) -> None:
    train = train_of(*[size] * (count - 1), size // 2)

    async def main() -> None:
        with pair() as both:
            assert both.send(train) is None
            await both.receiver.arrived(size * (count - 1) + size // 2)
            assert both.receiver.datagrams == train.datagrams()
            assert both.left.get_extra_info("rudp_io")["gso"]

    run_real(main())


@FAMILIES
def test_without_segmentation_and_gro_trains_are_joined_here(
    run_real: RunReal, family: int
) -> None:
    train = train_of(*[1200] * 19, 333)

    async def main() -> None:
        with pair(family, NOTHING) as both:
            assert both.send(train) is None
            await both.receiver.arrived(19 * 1200 + 333)
            assert both.left_socket.sends == [0] * 20
            data = b"".join(train.datagrams())
            assert both.receiver.trains == [(data, 1200, both.left_socket.getsockname(), 0)]
            assert both.receiver.calls == ["made", "train", "done"]
            assert both.right.get_extra_info("rudp_io") == dict.fromkeys(
                ("gso", "gro", "ecn", "dont_fragment"), False
            )

    run_real(main())


@FAMILIES
@pytest.mark.parametrize("can", [None, Capabilities(ecn=True)], ids=["gso", "single"])
def test_the_receiver_sees_the_ecn_mark(
    run_real: RunReal, family: int, can: Capabilities | None
) -> None:
    """RFC 3168 §5: the two bits, as they were sent; trains of different marks stay apart."""

    async def main() -> None:
        with pair(family) as both, transport_on(udp_socket(family), Recorder(), can) as left:
            for ecn in range(4):
                left.send_train(train_of(500, 500), both.address, ecn)
            await both.receiver.arrived(4000)
            assert [train[3] for train in both.receiver.trains] == [0, 1, 2, 3]
            assert both.right.get_extra_info("rudp_io")["ecn"]

    run_real(main())


def test_an_ipv6_socket_marks_what_it_sends_to_ipv4_peers(run_real: RunReal) -> None:
    async def main() -> None:
        dual, recorder = udp_socket(socket.AF_INET6, v6only=False), Recorder()
        with pair() as both, transport_on(dual, recorder) as transport:
            port = both.right_socket.getsockname()[1]
            transport.send_train(train_of(300, 300), ("::ffff:127.0.0.1", port, 0, 0), 2)
            await both.receiver.arrived(600)
            assert [train[3] for train in both.receiver.trains] == [2]
            both.right.send_train(train_of(200, 200), ("127.0.0.1", dual.getsockname()[1]), 3)
            await recorder.arrived(400)
            assert [train[3] for train in recorder.trains] == [3]

    run_real(main())


def test_a_connected_socket_needs_no_address(run_real: RunReal) -> None:
    async def main() -> None:
        with pair() as both:
            sock, recorder = udp_socket(), Recorder()
            sock.connect(both.address)
            with transport_on(sock, recorder) as transport:
                assert transport.get_extra_info("peername") == both.address
                assert transport.send_train(train_of(900, 900), None) is None
                transport.sendto(b"single")
                await both.receiver.arrived(1806)
                assert both.receiver.datagrams[-1] == b"single"
                both.right.send_train(train_of(100, 50), sock.getsockname())
                await recorder.arrived(150)
                assert recorder.trains[0][1:3] == (100, both.address)

    run_real(main())


def test_single_datagrams_of_any_kind_of_bytes(run_real: RunReal) -> None:
    async def main() -> None:
        with pair() as both:
            for data in (b"one", bytearray(b"two"), memoryview(b"three"), b""):
                both.left.sendto(data, both.address)
            await both.receiver.arrived(11)
            assert both.receiver.datagrams == [b"one", b"two", b"three"]
            with pytest.raises(TypeError, match="data"):
                both.left.sendto("text", both.address)

    run_real(main())


def test_an_empty_datagram_is_a_train_of_its_own(run_real: RunReal) -> None:
    async def main() -> None:
        with pair() as both:
            await turns()
            for data in (b"aa", b"", b"bb"):
                both.left_socket.sendto(data, both.address)
            await both.receiver.arrived(4)
            assert [(one[0], one[1]) for one in both.receiver.trains] == [
                (b"aa", 2),
                (b"", 1),
                (b"bb", 2),
            ]

    run_real(main())


def test_a_wake_up_has_a_budget(run_real: RunReal) -> None:
    """Other callbacks of the loop have their turn, and the rest is read in the next ones."""
    count = 3 * trains.MAX_READS + 5

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair(can=NOTHING) as both:
            for number in range(count):
                both.left_socket.sendto(b"%08d" % number, both.address)
            turned: list[int] = []

            def other() -> None:
                turned.append(len(both.receiver.datagrams))
                if turned[-1] < count:
                    loop.call_soon(other)

            loop.call_soon(other)
            await both.receiver.arrived(8 * count)
            await turns()
            assert both.receiver.datagrams == [b"%08d" % number for number in range(count)]
            assert {trains.MAX_READS, 2 * trains.MAX_READS, 3 * trains.MAX_READS} <= set(turned)
            assert both.receiver.calls.count("done") == 4

    run_real(main())


def test_an_icmp_error_is_told_and_reading_goes_on(run_real: RunReal) -> None:
    async def main() -> None:
        sock, gone, recorder = udp_socket(), udp_socket(), Recorder()
        address = gone.getsockname()
        sock.connect(address)
        gone.close()
        with transport_on(sock, recorder) as transport:
            await turns(2)
            assert transport.send_train(train_of(100), None) is None
            while not recorder.errors:
                await asyncio.sleep(0)
            assert recorder.errors[0].errno == errno.ECONNREFUSED
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
                back.bind(address)
                back.sendto(b"back", sock.getsockname())
                await recorder.arrived(4)
            assert not transport.is_closing()

    run_real(main())


class Draining(Recorder):
    """A protocol that sees to the error queue, as whoever sets IP_RECVERR has to."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.sock = sock
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)

    def error_received(self, exc: OSError) -> None:
        super().error_received(exc)
        self.drain()

    def drain(self) -> int:
        """How many errors were in the queue."""
        for count in itertools.count():
            try:
                self.sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)
            except BlockingIOError:
                return count
        raise AssertionError


@pytest.mark.parametrize("between", [0, 1, 3])
def test_an_icmp_error_that_a_send_finds_does_not_stop_reading(
    run_real: RunReal, between: int
) -> None:
    """libuv stops watching a socket when it sees POLLERR."""

    async def main() -> None:
        sock = udp_socket()
        recorder = Draining(sock)
        with udp_socket() as gone:
            dead = gone.getsockname()
        with pair() as both, transport_on(sock, recorder) as transport:
            await turns(2)
            for number in range(5):
                size = len(recorder.datagrams)
                both.right.sendto(b"before", sock.getsockname())
                assert transport.send_train(train_of(100), dead) is None
                await turns(between)
                assert transport.send_train(train_of(100 + number), both.address) is None
                both.right.sendto(b"after", sock.getsockname())
                await recorder.arrived(11 * (number + 1))
                assert recorder.datagrams[size:] == [b"before", b"after"]
            await both.receiver.arrived(510)
            assert {one.errno for one in recorder.errors} == {errno.ECONNREFUSED}
            assert recorder.drain() == 0

    run_real(main())


@pytest.mark.parametrize("between", [0, 1, 5])
def test_an_error_that_was_returned_does_not_stop_reading(run_real: RunReal, between: int) -> None:
    """With IP_RECVERR, EMSGSIZE lies in the error queue too, and wakes the loop for nothing."""

    async def main() -> None:
        sock = udp_socket()
        recorder = Draining(sock)
        with pair() as both, transport_on(sock, recorder) as transport:
            await turns(2)
            for number in range(1, 6):
                error = transport.send_train(Train([b"x" * 65_508], 65_508, 1), both.address)
                assert error is not None
                await turns(between)
                assert recorder.drain() > 0
                both.right.sendto(b"after", sock.getsockname())
                await recorder.arrived(5 * number)
            assert recorder.errors == []

    run_real(main())


def test_exceptions_of_the_protocol_reach_the_handler_and_reading_goes_on(
    run_real: RunReal,
) -> None:
    class Fragile(Recorder):
        def train_received(self, data: memoryview, stride: int, addr: Any, ecn: int) -> None:
            super().train_received(data, stride, addr, ecn)
            if bytes(data[:3]) == b"bad":
                raise ValueError("train")

        def batch_done(self) -> None:
            raise ValueError("batch")

    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        recorder = Fragile()
        with pair() as both, transport_on(udp_socket(), recorder) as transport:
            address = transport.get_extra_info("sockname")
            both.left.sendto(b"bad", address)
            both.left.sendto(b"longer", address)  # lies in the buffer when the first one fails
            await recorder.arrived(9)
            await turns()
            both.left.sendto(b"later", address)
            await recorder.arrived(14)
            await turns()
            assert recorder.datagrams == [b"bad", b"longer", b"later"]
            texts = [str(context["exception"]) for context in told]
            assert texts.count("train") == 1
            assert texts.count("batch") == len(texts) - 1 >= 2
            assert told[0]["transport"] is transport
            assert told[0]["protocol"] is recorder

    run_real(main())


def test_the_extra_info_is_asyncios_and_ours(run_real: RunReal) -> None:
    async def main() -> None:
        with pair() as both:
            left = both.left
            assert left.get_extra_info("sockname") == both.left_socket.getsockname()
            assert left.get_extra_info("peername") is None
            assert left.get_extra_info("socket").fileno() == both.left_socket.fileno()
            assert left.get_extra_info("nothing", "default") == "default"
            assert set(left.get_extra_info("rudp_io")) == {"gso", "gro", "ecn", "dont_fragment"}
            assert left.get_protocol() is both.sender
            assert "open" in repr(left)
            other = Recorder()
            both.right.set_protocol(other)  # type: ignore[arg-type]
            both.send(train_of(50))
            await other.arrived(50)

    run_real(main())


@pytest.mark.parametrize("how", ["close", "abort"])
def test_closing_tells_the_protocol_once_and_closes_the_socket(run_real: RunReal, how: str) -> None:
    async def main() -> None:
        with pair() as both:
            await turns(2)
            getattr(both.left, how)()
            assert both.left.is_closing()
            assert both.sender.lost == []
            both.left.close()
            both.left.abort()
            await turns()
            assert both.sender.lost == [None]
            assert both.left_socket.fileno() == -1
            assert both.send(train_of(100)) is None
            both.left.sendto(b"late", both.address)
            assert "closed" in repr(both.left)
            await turns()
            assert both.receiver.trains == []

    run_real(main())


def test_a_transport_closed_at_once_has_its_life_all_the_same(run_real: RunReal) -> None:
    async def main() -> None:
        recorder = Recorder()
        with transport_on(udp_socket(), recorder) as transport:
            transport.close()
            await turns()
            assert recorder.calls == ["made", "lost"]

    run_real(main())


def test_a_protocol_that_closes_hears_no_more(run_real: RunReal) -> None:
    class Once(Recorder):
        def train_received(self, data: memoryview, stride: int, addr: Any, ecn: int) -> None:
            super().train_received(data, stride, addr, ecn)
            self.transport.close()

    async def main() -> None:
        recorder = Once()
        sock = udp_socket()
        with udp_socket() as other, transport_on(sock, recorder):
            for data in (b"a", b"bb", b"ccc"):
                other.sendto(data, sock.getsockname())
            await recorder.arrived(1)
            await turns()
            assert recorder.calls == ["made", "train", "lost"]

    run_real(main())


def test_nothing_is_left_after_close(run_real: RunReal) -> None:
    """No cycle holds the transport, the protocol or the socket once `connection_lost` was told."""

    async def main() -> None:
        with pair() as both:
            recorder, sock = Recorder(), udp_socket()
            transport = BatchedTransport(asyncio.get_running_loop(), sock, recorder)
            await turns(2)
            sock.script.extend([errno.ECONNREFUSED, None, errno.EAGAIN])
            for _ in range(2):
                assert transport.send_train(train_of(100, 100), both.address) is None
            await both.receiver.arrived(400)
            both.right.send_train(train_of(10), sock.getsockname())
            await recorder.arrived(10)
            gone = [weakref.ref(one) for one in (transport, recorder, sock)]
            transport.close()
            await turns()
            recorder.transport = None
            del transport, recorder, sock
            assert [one() for one in gone] == [None, None, None]

    gc.collect()
    gc.disable()
    try:
        run_real(main())
    finally:
        gc.enable()


def test_a_forgotten_transport_warns(run_real: RunReal) -> None:
    async def main() -> None:
        sock = udp_socket()
        transport = BatchedTransport(asyncio.get_running_loop(), sock, Recorder())
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            transport.__del__()
        assert sock.fileno() == -1
        transport.abort()
        await turns()

    run_real(main())


def test_a_datagram_too_large_is_an_error_of_the_call(run_real: RunReal) -> None:
    train = Train([b"x" * 65_508], 65_508, 1)

    async def main() -> None:
        with pair() as both:
            error = both.send(train)
            assert error is not None
            assert error.errno == errno.EMSGSIZE
            both.left.sendto(b"x" * 65_508, both.address)
            assert [one.errno for one in both.sender.errors] == [errno.EMSGSIZE]
            assert both.left.get_write_buffer_size() == 0

    run_real(main())
