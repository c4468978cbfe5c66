"""rudp.sim.run: asyncio.run's life cycle, leaks, errors, replay."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.sim import LinkConfig, Network, SimDeadlock, SimLeakError, SimLoop, run


async def returns(value: object) -> object:
    await asyncio.sleep(1)
    return value


def test_returns_the_result_on_a_simulated_loop() -> None:
    async def main() -> type:
        return type(asyncio.get_running_loop())

    assert run(main()) is SimLoop


def test_leaves_no_event_loop_behind() -> None:
    run(returns(1))
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_cancels_leftover_tasks_in_order_and_lets_them_clean_up() -> None:
    ended: list[int] = []

    async def leftover(number: int) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(5)
            ended.append(number)

    async def main() -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(leftover(number)) for number in range(20)]
        await asyncio.sleep(0)
        return tasks

    tasks = run(main())
    assert all(task.cancelled() for task in tasks)
    assert ended == list(range(20))


def test_closes_async_generators_and_what_they_close() -> None:
    closed: list[str] = []

    async def pool():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, family=socket.AF_INET
        )
        try:
            yield transport
        finally:
            transport.close()
            loop.call_soon(lambda: loop.call_soon(closed.append, "in the end"))

    async def main():
        generator = pool()
        await anext(generator)
        return generator

    generator = run(main())
    assert closed == ["in the end"]
    del generator


def test_an_open_socket_is_a_leak() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("10.0.0.1", 7)
        )

    with pytest.raises(SimLeakError, match=r"socket <SimSocket \('10\.0\.0\.1', 7\)"):
        run(main())
    run(main(), check_leaks=False)


def test_a_timer_is_a_leak() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(10, int)

    with pytest.raises(SimLeakError, match="timer <TimerHandle when=10"):
        run(main())
    run(main(), check_leaks=False)


def test_a_datagram_in_flight_is_no_leak() -> None:
    async def main() -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, family=socket.AF_INET
        )
        transport.sendto(b"x", ("10.0.0.2", 7))
        transport.close()

    run(main(), network=Network(1, LinkConfig(delay_s=10)))


def test_the_program_s_own_error_wins_over_leaks_and_carries_the_seed() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(10, int)
        await asyncio.sleep(2)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine") as caught:
        run(main(), seed=4711)
    assert caught.value.__notes__ == ["simulated network: seed 4711, 2.000000 s of its time"]


def test_unhandled_errors_are_errors(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> int:
        asyncio.get_running_loop().call_soon(int, "nonsense")
        await asyncio.sleep(1)
        return 5

    with pytest.raises(ExceptionGroup, match="nobody handled") as caught:
        run(main(), seed=1)
    assert caught.group_contains(ValueError, match="nonsense")
    assert "seed 1" in caught.value.__notes__[0]
    assert run(main(), check_errors=False) == 5
    assert "nonsense" in caplog.text


def test_unhandled_errors_explain_a_deadlock() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(int, "nonsense")
        await asyncio.Event().wait()

    with pytest.raises(SimDeadlock) as caught:
        run(main())
    assert "nobody handled: ValueError" in caught.value.__notes__[1]


def test_an_exception_handler_of_the_program_handles() -> None:
    seen: list[dict[str, object]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(context))
        loop.call_soon(int, "nonsense")
        await asyncio.sleep(1)

    run(main())
    assert len(seen) == 1


def test_a_task_that_fails_while_it_is_cancelled_is_reported() -> None:
    async def leftover() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise LookupError("at the end")

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(leftover())
        await asyncio.sleep(0)
        return task

    with pytest.raises(ExceptionGroup) as caught:
        run(main())
    assert caught.group_contains(LookupError)


@pytest.mark.parametrize("kept", [True, False])
def test_a_failed_task_that_nobody_awaited_is_reported(kept: bool) -> None:
    alive: list[asyncio.Task[None]] = []

    async def fails() -> None:
        raise LookupError("in the background")

    async def main() -> None:
        task = asyncio.create_task(fails())
        looked_at = asyncio.create_task(fails())
        await asyncio.wait([looked_at])
        assert looked_at.exception()
        if kept:
            alive.append(task)

    with pytest.raises(ExceptionGroup) as caught:
        run(main())
    (error,) = caught.value.exceptions
    assert "in the background" in str(error)


def test_a_task_that_refuses_to_end_is_a_deadlock() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(stubborn(), name="stubborn")
        await asyncio.sleep(0)
        assert not task.done()

    with pytest.raises(SimDeadlock, match="stubborn"):
        run(main())


def test_arguments_are_checked() -> None:
    with pytest.raises(TypeError, match="main must be a coroutine"):
        run(returns)
    with pytest.raises(ValueError, match="seed and network"):
        run(returns(1), seed=1, network=Network(1))


async def test_inside_another_loop_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="while an event loop is running"):
        run(returns(1))


def test_a_network_can_be_used_again_and_time_begins_at_zero() -> None:
    network = Network(1, LinkConfig(rate_bytes_per_s=100))
    network.add_host("10.0.0.1")

    async def main() -> float:
        loop = asyncio.get_running_loop()
        got = loop.create_future()

        class Sink(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                got.set_result(loop.time())

        transport, _ = await loop.create_datagram_endpoint(Sink, local_addr=("10.0.0.1", 7))
        transport.sendto(bytes(100), ("10.0.0.1", 7))
        await got
        transport.close()
        return got.result()

    assert [run(main(), network=network) for _ in range(3)] == [1.0, 1.0, 1.0]


BAD = LinkConfig(
    rate_bytes_per_s=20_000,
    queue_bytes=4000,
    delay_s=0.05,
    jitter_s=0.03,
    loss=0.1,
    burst_enter=0.02,
    burst_exit=0.3,
    reorder=0.1,
    duplicate=0.1,
    corrupt=0.05,
)


def chatter(seed: int) -> list[tuple[object, ...]]:
    """Some peers that answer one another over bad links; what was sent, and when."""
    trace: list[tuple[object, ...]] = []
    network = Network(seed, BAD, tap=lambda *event: trace.append(event))
    for number in (1, 2, 3):
        network.add_host(f"10.0.0.{number}")

    class Peer(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            if data:
                self.transport.sendto(data[1:], addr)

    async def talk(number: int) -> None:
        with network.host(f"10.0.0.{number}"):
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                Peer, local_addr=("0.0.0.0", 7)
            )
            for count in range(20):
                transport.sendto(bytes(100 + count), (f"10.0.0.{number % 3 + 1}", 7))
                await asyncio.sleep(0.01)
        await asyncio.sleep(20)
        transport.close()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in (1, 2, 3):
                group.create_task(talk(number))

    run(main(), network=network)
    return trace


@given(st.integers(0, 2**32))
def test_same_seed_same_trace(seed: int) -> None:
    first = chatter(seed)
    assert len(first) > 60
    assert chatter(seed) == first


def test_different_seeds_differ() -> None:
    assert len({str(chatter(seed)) for seed in range(10)}) == 10
