"""Sends that fail: refused segmentation, a full socket, a busy device, errors that came back."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from rudp.aio import batched
from rudp.aio.capabilities import Capabilities

from .batched_support import (
    LINUX_ONLY,
    NOTHING,
    Pair,
    Recorder,
    pair,
    train_of,
    transport_on,
    turns,
    udp_socket,
)
from .support import RunReal

pytestmark = LINUX_ONLY

GSO = Capabilities(gso=True)
LATER = pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS])


def _gso(transport: batched.BatchedTransport) -> bool:
    return bool(transport.get_extra_info("rudp_io")["gso"])


async def _all_arrived(both: Pair, *trains: Any) -> None:
    datagrams = [one for train in trains for one in train.datagrams()]
    await both.receiver.arrived(sum(map(len, datagrams)))
    assert both.receiver.datagrams == datagrams


# -- segmentation refused ------------------------------------------------------------------------


def test_a_device_that_does_not_segment_is_remembered(run_real: RunReal) -> None:
    """EIO: the train goes unsegmented, nothing of it is lost, and GSO is not tried again."""
    first, second = train_of(*[600] * 20, 100), train_of(*[400] * 10, first=50)

    async def main() -> None:
        with pair(can=GSO) as both:
            both.left_socket.refuse_segments = errno.EIO
            assert both.send(first) is None
            assert not _gso(both.left)
            tried = len(both.left_socket.sends)
            assert both.send(second) is None
            assert both.left_socket.sends[tried:] == [0] * 10
            await _all_arrived(both, first, second)
            assert both.left.get_extra_info("rudp_io")["gso"] is False

    run_real(main())


def test_a_size_that_is_not_segmented_is_remembered(run_real: RunReal) -> None:
    """EINVAL is about the size: larger ones go unsegmented from now on, smaller ones do not."""
    trains = [train_of(*[600] * 5), train_of(*[700] * 5), train_of(*[500] * 5)]

    async def main() -> None:
        with pair(can=GSO) as both:
            both.left_socket.refuse_segments = errno.EINVAL
            assert both.send(trains[0]) is None
            both.left_socket.refuse_segments = 0
            both.left_socket.sends.clear()
            for train in trains[1:]:
                assert both.send(train) is None
            assert both.left_socket.sends == [0] * 5 + [500]
            assert _gso(both.left)
            await _all_arrived(both, *trains)

    run_real(main())


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO])
def test_what_does_not_go_unsegmented_either_is_not_held_against_gso(
    run_real: RunReal, code: int
) -> None:
    """Linux before 6.14 says EINVAL to a train whose datagrams exceed the interface's MTU."""

    async def main() -> None:
        with pair(can=GSO) as both:
            both.left_socket.refuse_segments = code
            both.left_socket.script.extend([None, None, errno.EMSGSIZE, errno.EMSGSIZE])
            error = both.send(train_of(600, 600, 600))
            assert error is not None
            assert error.errno == errno.EMSGSIZE
            assert both.left_socket.sends == [600, 600, 0, 0]
            assert _gso(both.left)
            assert both.left.get_write_buffer_size() == 0
            await turns()
            assert both.receiver.trains == []
            assert both.sender.errors == []

    run_real(main())


@LATER
@pytest.mark.parametrize("place", range(6))
def test_a_refused_train_may_be_interrupted_anywhere(
    run_real: RunReal, code: int, place: int
) -> None:
    train = train_of(*[600] * 5, 10)

    async def main() -> None:
        with pair(can=GSO) as both:
            both.left_socket.refuse_segments = errno.EIO
            both.left_socket.script.extend([None, None, *[None] * place, code])
            assert both.send(train) is None
            assert both.left.get_write_buffer_size() == sum(map(len, train.datagrams()[place:]))
            await _all_arrived(both, train)
            assert both.left.get_write_buffer_size() == 0

    run_real(main())


# -- not now -------------------------------------------------------------------------------------


@LATER
@pytest.mark.parametrize("can", [GSO, NOTHING], ids=["gso", "single"])
@pytest.mark.parametrize("size", [100, 1500])
def test_what_the_socket_does_not_take_waits_in_order(
    run_real: RunReal, code: int, can: Capabilities, size: int
) -> None:
    trains = [train_of(*[size] * 70, 50, first=100 * number) for number in range(4)]

    async def main() -> None:
        with pair(can=can) as both:
            both.left_socket.script.extend([None, code, code, None, code])
            for train in trains:
                assert both.send(train) is None
            assert both.left.get_write_buffer_size() > 0
            both.left.sendto(b"last", both.address)
            await both.receiver.arrived(4 * (70 * size + 50) + 4)
            assert both.receiver.datagrams[:-1] == [
                one for train in trains for one in train.datagrams()
            ]
            assert both.receiver.datagrams[-1] == b"last"
            assert both.sender.errors == []

    run_real(main())


@LATER
def test_watermarks_pause_and_resume_the_protocol(run_real: RunReal, code: int) -> None:
    trains = [train_of(*[100] * 10, first=10 * number) for number in range(3)]

    async def main() -> None:
        with pair(can=GSO) as both:
            await turns(2)
            both.left.set_write_buffer_limits(high=1500, low=0)
            both.left_socket.script.extend([code])
            both.send(trains[0])
            assert both.left.get_write_buffer_size() == 1000
            assert "pause" not in both.sender.calls
            both.send(trains[1])
            assert both.sender.calls.count("pause") == 1
            both.send(trains[2])
            assert both.left.get_write_buffer_size() == 3000
            await _all_arrived(both, *trains)
            assert both.sender.calls == ["made", "pause", "resume"]
            assert both.left.get_write_buffer_size() == 0

    run_real(main())


def test_a_protocol_may_send_when_it_is_resumed(run_real: RunReal) -> None:
    trains = [train_of(*[100] * 10, first=10 * number) for number in range(3)]

    class Eager(Recorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            if len(resumed) < 2:
                resumed.append(self.transport.send_train(trains[len(resumed) + 1], address))

    resumed: list[OSError | None] = []
    address: Any = None

    async def main() -> None:
        nonlocal address
        with pair() as both, transport_on(sock := udp_socket(), eager := Eager(), GSO) as left:
            address = both.address
            left.set_write_buffer_limits(high=0)
            await turns(2)
            sock.script.extend([errno.EAGAIN, None, errno.EAGAIN, None, errno.ENOBUFS])
            assert left.send_train(trains[0], address) is None
            await _all_arrived(both, *trains)
            assert resumed == [None, None]
            await turns()
            assert eager.calls.count("pause") == eager.calls.count("resume") == 3
            assert left.get_write_buffer_size() == 0

    run_real(main())


def test_a_busy_device_is_left_alone_for_longer_each_time(
    run_real: RunReal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOBUFS: the socket is writable, so that the loop would come back at once."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        delays: list[float] = []
        with pair(can=GSO) as both:
            await turns(2)

            class Loop:
                """The transport's loop, but for timers, which ring at once."""

                def __getattr__(self, name: str) -> Any:
                    return getattr(loop, name)

                def call_later(self, delay_s: float, callback: Any) -> asyncio.TimerHandle:
                    delays.append(delay_s)
                    return loop.call_later(0, callback)

            monkeypatch.setattr(both.left, "_loop", Loop())
            both.left_socket.script.extend([errno.ENOBUFS] * 9)
            trains = [train_of(100, 100), train_of(100, 100, first=2)]
            both.send(trains[0])
            await _all_arrived(both, trains[0])
            assert delays == [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.064, 0.064]
            both.left_socket.script.extend([errno.ENOBUFS])
            both.send(trains[1])
            await _all_arrived(both, *trains)
            assert delays[9:] == [0.001]

    run_real(main())


@LATER
def test_closing_sends_what_is_queued_first(run_real: RunReal, code: int) -> None:
    trains = [train_of(*[100] * 10, first=10 * number) for number in range(2)]

    async def main() -> None:
        with pair(can=GSO) as both:
            both.left_socket.script.extend([code, code])
            for train in trains:
                both.send(train)
            both.left.close()
            await turns(2)
            assert both.left.send_train(train_of(5), both.address) is None
            await _all_arrived(both, *trains)
            await turns()
            assert both.sender.lost == [None]
            assert both.left_socket.fileno() == -1

    run_real(main())


@LATER
def test_aborting_does_not(run_real: RunReal, code: int) -> None:
    async def main() -> None:
        with pair(can=GSO) as both:
            both.left_socket.script.extend([code])
            both.send(train_of(100, 100))
            both.left.close()
            both.left.abort()
            assert both.left.get_write_buffer_size() == 0
            await turns()
            assert both.sender.lost == [None]
            assert both.receiver.trains == []
            assert len(both.left_socket.sends) == 1

    run_real(main())


def test_a_device_that_takes_nothing_does_not_keep_the_socket_open(
    run_real: RunReal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batched, "_MIN_BACKOFF_S", 0.0)
    monkeypatch.setattr(batched, "_MAX_BACKOFF_S", 0.0)

    async def main() -> None:
        with pair(can=GSO) as both:
            both.left_socket.script.extend([errno.ENOBUFS] * 100)
            both.send(train_of(100, 100))
            both.left.close()
            while not both.sender.lost:
                await asyncio.sleep(0)
            assert both.sender.lost == [None]

    run_real(main())


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("can", [GSO, NOTHING], ids=["gso", "single"])
@pytest.mark.parametrize("code", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EMSGSIZE])
def test_an_error_of_an_earlier_send_is_not_this_ones(
    run_real: RunReal, can: Capabilities, code: int
) -> None:
    """The socket tells of it once, instead of sending; the protocol hears of it a little later,
    because the error queue has to be looked at."""
    train = train_of(200, 200)

    async def main() -> None:
        with pair(can=can) as both:
            both.left_socket.script.extend([code])
            assert both.send(train) is None
            assert both.sender.errors == []
            await _all_arrived(both, train)
            assert [one.errno for one in both.sender.errors] == [code]

    run_real(main())


@pytest.mark.parametrize("can", [GSO, NOTHING], ids=["gso", "single"])
@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EPERM, errno.EMSGSIZE])
def test_an_error_that_repeats_itself_is_returned(
    run_real: RunReal, can: Capabilities, code: int
) -> None:
    train = train_of(200, 200)

    async def main() -> None:
        with pair(can=can) as both:
            both.left_socket.script.extend([code, code])
            error = both.send(train)
            assert error is not None
            assert error.errno == code
            assert both.left.get_write_buffer_size() == 0
            assert both.send(train) is None
            await _all_arrived(both, train)
            assert both.sender.errors == []

    run_real(main())


def test_a_retried_send_may_find_the_socket_full(run_real: RunReal) -> None:
    train = train_of(200, 200)

    async def main() -> None:
        with pair(can=GSO) as both:
            both.left_socket.script.extend([errno.ECONNREFUSED, errno.EAGAIN])
            assert both.send(train) is None
            await _all_arrived(both, train)

    run_real(main())


def test_an_error_of_a_queued_train_costs_that_train_alone(run_real: RunReal) -> None:
    trains = [train_of(*[100] * 10, first=10 * number) for number in range(2)]

    class Failing(Recorder):
        def error_received(self, exc: OSError) -> None:
            super().error_received(exc)
            raise ValueError("error_received")

    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        with pair() as both, transport_on(sock := udp_socket(), failing := Failing(), GSO) as left:
            sock.script.extend([errno.EAGAIN, errno.ENETUNREACH, errno.ENETUNREACH])
            for train in trains:
                assert left.send_train(train, both.address) is None
            await _all_arrived(both, trains[1])
            assert [one.errno for one in failing.errors] == [errno.ENETUNREACH]
            assert [str(context["exception"]) for context in told] == ["error_received"]
            assert left.get_write_buffer_size() == 0

    run_real(main())


def test_what_a_caller_changes_after_sendto_is_not_sent(run_real: RunReal) -> None:
    async def main() -> None:
        with pair() as both:
            both.left_socket.script.extend([errno.EAGAIN])
            data = bytearray(b"before")
            both.left.sendto(data, both.address)
            data[:] = b"after!"
            await both.receiver.arrived(6)
            assert both.receiver.datagrams == [b"before"]

    run_real(main())
