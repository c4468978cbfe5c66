"""rudp.sim.loop: virtual time, order, deadlocks and limits, names."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from rudp.sim import Network, SimDeadlock, SimLimitError, SimLoop, run


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    with contextlib.closing(SimLoop()) as loop:
        yield loop


def test_time_is_virtual_and_an_hour_is_nothing() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert loop.time() == 0.0
        await asyncio.sleep(3600)
        return loop.time()

    assert run(main()) == 3600.0


def test_timers_run_in_order_of_time_then_of_scheduling(loop: SimLoop) -> None:
    ran: list[tuple[float, str]] = []

    def note(name: str) -> None:
        ran.append((loop.time(), name))

    for index in range(20):
        loop.call_at(2.0, note, f"two-{index}")
    loop.call_later(1.0, note, "one")
    loop.call_at(-5.0, note, "past")
    loop.call_soon(note, "soon")
    loop.call_at(3.0, loop.stop)
    loop.run_forever()
    assert ran == [
        (0.0, "soon"),
        (0.0, "past"),
        (1.0, "one"),
        *((2.0, f"two-{index}") for index in range(20)),
    ]


def test_time_never_goes_back(loop: SimLoop) -> None:
    times: list[float] = []

    def late() -> None:
        loop.call_at(1.0, lambda: times.append(loop.time()))
        loop.call_at(6.0, loop.stop)

    loop.call_at(5.0, late)
    loop.run_forever()
    assert times == [5.0]


def test_due_timers_are_not_starved_by_ready_callbacks(loop: SimLoop) -> None:
    spins = 0

    def spin() -> None:
        nonlocal spins
        spins += 1
        loop.call_soon(spin)

    loop.call_soon(spin)
    loop.call_at(0.0, loop.stop)
    loop.run_forever()
    assert spins <= 2


def test_cancelled_timers_do_not_run_and_do_not_move_the_clock(loop: SimLoop) -> None:
    loop.call_at(100.0, pytest.fail, "cancelled").cancel()
    loop.call_at(1.0, loop.stop)
    loop.run_forever()
    assert loop.time() == 1.0
    late = loop.call_at(2.0, pytest.fail, "cancelled by the one before")
    loop.call_at(1.5, late.cancel)
    loop.call_at(3.0, loop.stop)
    loop.run_forever()


def test_cancelled_timers_are_forgotten(loop: SimLoop) -> None:
    kept = [loop.call_at(1000.0 + index, int) for index in range(50)]
    for index in range(10_000):
        loop.call_at(500.0 + index, int).cancel()
    assert len(loop._timers) < 300
    assert sum(not handle.cancelled() for _, _, handle in loop._timers) == len(kept)


def test_timers_far_out_still_advance(loop: SimLoop) -> None:
    """A step smaller than the clock's resolution at that time must not loop for ever."""
    loop.max_virtual_s = 1e300
    far = 1e16
    loop.call_at(far, lambda: loop.call_later(1e-9, loop.stop))
    loop.run_forever()
    assert loop.time() == far


def test_call_at_checks_its_arguments(loop: SimLoop) -> None:
    with pytest.raises(ValueError, match="NaN"):
        loop.call_at(float("nan"), int)
    with pytest.raises(TypeError):
        loop.call_at(None, int)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_at(1.0, int)


def test_deadlock_lists_the_tasks() -> None:
    async def waits_for_godot() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.sleep(7)
        await asyncio.gather(asyncio.create_task(waits_for_godot(), name="estragon"))

    with pytest.raises(SimDeadlock) as caught:
        run(main(), seed=1)
    message = str(caught.value)
    assert "at 7.000000 s" in message
    assert "estragon" in message
    assert "waits_for_godot (test_loop.py:" in message
    assert message.index("main (test_loop.py:") < message.index("estragon")


def test_deadlock_without_tasks(loop: SimLoop) -> None:
    with pytest.raises(SimDeadlock, match="nothing is scheduled"):
        loop.run_forever()


def test_wait_for_and_timeout() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        times = []
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 30)
        times.append(loop.time())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(12):
                await asyncio.sleep(1000)
        times.append(loop.time())
        assert await asyncio.wait_for(asyncio.sleep(1, "in time"), 2) == "in time"
        return [*times, loop.time()]

    assert run(main()) == [30.0, 42.0, 43.0]


def test_max_virtual_s() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(10)

    with pytest.raises(SimLimitError, match=r"100\.000000 s allowed"):
        run(main(), max_virtual_s=100.0)


def test_max_steps_ends_a_livelock() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(SimLimitError, match=r"more than 1000 steps(.|\n)*main \(test_loop"):
        run(main(), max_steps=1000)


def test_call_soon_threadsafe(loop: SimLoop) -> None:
    done = loop.create_future()

    def spin() -> None:
        if not done.done():
            loop.call_soon(spin)

    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(done.set_result, "thread"))
    loop.call_soon(thread.start)
    spin()
    loop.max_steps = 1 << 62
    assert loop.run_until_complete(done) == "thread"
    thread.join()


def test_no_threads_and_no_tcp(loop: SimLoop) -> None:
    async def main() -> None:
        with pytest.raises(NotImplementedError, match="no threads"):
            await asyncio.to_thread(int)
        with pytest.raises(NotImplementedError, match="UDP only"):
            await asyncio.open_connection("localhost", 80)
        with pytest.raises(NotImplementedError, match="UDP only"):
            await asyncio.start_server(int, "localhost", 80)

    loop.run_until_complete(main())


def test_unhandled_errors_are_kept(loop: SimLoop, caplog: pytest.LogCaptureFixture) -> None:
    loop.call_soon(int, "not a number")
    loop.call_exception_handler({"message": "something odd"})
    loop.call_soon(loop.stop)
    loop.run_forever()
    odd, error = loop.unhandled
    assert "something odd" in str(odd)
    assert isinstance(error, ValueError)
    assert "not a number" in caplog.text


def test_debug_mode() -> None:
    async def main() -> bool:
        await asyncio.sleep(10)
        return asyncio.get_running_loop().get_debug()

    assert run(main(), debug=True)


def test_a_network_has_one_loop_at_a_time(loop: SimLoop) -> None:
    with pytest.raises(RuntimeError, match="attached already"):
        SimLoop(loop.network)
    loop.close()
    loop.close()
    SimLoop(loop.network).close()


def test_closing_a_running_loop_is_an_error() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="running"):
            asyncio.get_running_loop().close()
        await asyncio.sleep(1)

    run(main())


def test_leaks_are_described(loop: SimLoop) -> None:
    loop.call_at(5.0, int)
    loop.call_at(6.0, int).cancel()
    task = loop.create_task(asyncio.sleep(100), name="sleeper")
    loop.call_at(1.0, loop.stop)
    loop.run_forever()
    descriptions = "\n".join(loop.leaks())
    assert "when=5" in descriptions
    assert "when=6" not in descriptions
    assert "task sleeper" in descriptions
    task.cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    (description,) = loop.leaks()
    assert "when=5" in description


def test_datagram_origin_is_the_current_host() -> None:
    network = Network(1)
    client = network.add_host("10.0.0.1")
    server = network.add_host("10.0.0.2", name="server")

    async def origin() -> object:
        await asyncio.sleep(1)
        return asyncio.get_running_loop().datagram_origin()

    async def main() -> list[object]:
        with network.host("server"):
            inside = asyncio.create_task(origin())
        outside = asyncio.create_task(origin())
        network.change_address("server", "10.0.0.3")
        return [await inside, await outside]

    assert run(main(), network=network) == [server, client]


class TestNames:
    @pytest.fixture
    def network(self) -> Network:
        network = Network(1)
        network.add_host("10.0.0.1", name="client")
        network.add_host("10.0.0.2", "fd00::2", name="server")
        return network

    def lookup(self, network: Network, *args: object, **options: object) -> list[object]:
        async def main() -> list[object]:
            return await asyncio.get_running_loop().getaddrinfo(*args, **options)

        return run(main(), network=network)

    def test_host_name(self, network: Network) -> None:
        udp = (socket.SOCK_DGRAM, socket.IPPROTO_UDP, "")
        assert self.lookup(network, "server", 7, type=socket.SOCK_DGRAM) == [
            (socket.AF_INET, *udp, ("10.0.0.2", 7)),
            (socket.AF_INET6, *udp, ("fd00::2", 7, 0, 0)),
        ]

    def test_family_type_and_forms_of_the_arguments(self, network: Network) -> None:
        infos = self.lookup(network, b"server", "7", family=socket.AF_INET6)
        assert [info[1] for info in infos] == [socket.SOCK_STREAM, socket.SOCK_DGRAM]
        assert {info[4] for info in infos} == {("fd00::2", 7, 0, 0)}

    def test_literals_need_no_host(self, network: Network) -> None:
        (info,) = self.lookup(network, "192.0.2.1", None, type=socket.SOCK_DGRAM)
        assert info[4] == ("192.0.2.1", 0)

    def test_passive(self, network: Network) -> None:
        infos = self.lookup(network, None, 7, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
        assert [info[4] for info in infos] == [("0.0.0.0", 7)], "the client has no IPv6"

    @pytest.mark.parametrize(
        ("host", "port", "family"),
        [("nobody", 7, 0), ("client", 7, socket.AF_INET6), ("server", "http", 0)],
    )
    def test_unknown(self, network: Network, host: str, port: object, family: int) -> None:
        with pytest.raises(socket.gaierror):
            self.lookup(network, host, port, family=family)

    def test_getnameinfo(self, network: Network) -> None:
        async def main() -> list[tuple[str, str]]:
            loop = asyncio.get_running_loop()
            return [
                await loop.getnameinfo(("10.0.0.2", 7)),
                await loop.getnameinfo(("10.0.0.2", 7), socket.NI_NUMERICHOST),
                await loop.getnameinfo(("10.9.9.9", 7)),
            ]

        names = run(main(), network=network)
        assert names == [("server", "7"), ("10.0.0.2", "7"), ("10.9.9.9", "7")]
