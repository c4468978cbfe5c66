"""rudp.telemetry: silent by default, followed by whatever logging the program configures."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import structlog

import rudp
from rudp.core.states import Event, State
from rudp.errors import Reason
from rudp.sim import Network, run
from rudp.sim.pair import CorePair
from rudp.telemetry.events import LogObserver, observe
from rudp.wire.options import Options
from rudp.wire.segment import ACK, PSH, SYN, Segment, encode
from rudp.wire.train import Train

PEER = ("192.0.2.1", 4433)
SEGMENT = Segment(1, 1000, 2000, ACK | PSH, 512, 3, 4, payload=b"hello", segments=2)

Entry = dict[str, Any]


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


class Log(list[Entry]):
    """A structlog processor that keeps what it is given."""

    def __call__(self, logger: object, level: str, entry: Entry) -> Entry:
        self.append({"level": level, **entry})
        raise structlog.DropEvent

    def named(self, *names: str) -> list[Entry]:
        return [entry for entry in self if entry["event"] in names]


def configure(level: int) -> Log:
    """The program configures structlog, with its own idea of levels."""
    log = Log()
    structlog.configure(
        processors=[log], wrapper_class=structlog.make_filtering_bound_logger(level)
    )
    return log


def tell_everything(observer: Any) -> None:
    observer.state_changed(State.SYN_SENT, State.ESTABLISHED, Event.RECEIVE_SYN_ACK)
    observer.segment_received(SEGMENT, 3, 0, 1.0)
    syn = Segment(0, 7, 0, SYN, 100, 0, 0, Options(mss=1000))
    observer.train_sent(Train([encode(syn), bytes(2972)], 1000, 3), 0, 1.0)
    observer.closed(Reason.RESET_BY_PEER)
    observer.closed(None)


def converse(pair: CorePair) -> tuple[int, int]:
    """Open, a few bytes, close; both sides observed. Returns the two connection ids."""
    for node in (pair.a, pair.b):
        node.endpoint._observe = lambda cid, peer, _: observe(cid, peer)
    conn, peer = pair.connect()
    conn.send(b"hello")
    pair.flush(pair.a, conn)
    pair.run(1.0)
    for node, one in ((pair.a, conn), (pair.b, peer)):
        one.shutdown()
        pair.flush(node, one)
    pair.run(60.0)
    return conn.local_cid, peer.local_cid


# -- silent by default ---------------------------------------------------------------------------


def test_a_library_configures_nothing() -> None:
    """Issue 2, logging: importing rudp leaves structlog and the root logger as they were."""
    program = (
        "import logging, structlog, rudp, rudp.sim, rudp.telemetry.events\n"
        "assert not structlog.is_configured()\n"
        "assert logging.getLogger().handlers == []\n"
        "assert logging.getLogger().level == logging.WARNING\n"
        "ours = logging.getLogger('rudp')\n"
        "assert [type(handler) for handler in ours.handlers] == [logging.NullHandler]\n"
        "assert ours.level == logging.NOTSET and ours.propagate\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_structlog_is_imported_only_when_something_is_logged() -> None:
    """It brings much with it, and most programs never see an event."""
    program = "import sys, rudp\nassert 'structlog' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_silent_by_default(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody asked, so there is no observer, and not a word on either stream."""
    assert observe(0xABC, PEER) is None
    converse(CorePair(1))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


# -- the standard library's logging --------------------------------------------------------------


def test_standard_logging_at_info(caplog: pytest.LogCaptureFixture) -> None:
    """Events carry connection id and peer; no segment at this level."""
    caplog.set_level(logging.INFO, logger="rudp")
    observer = observe(0xABC, PEER)
    assert isinstance(observer, LogObserver)
    tell_everything(observer)
    assert [record.getMessage() for record in caplog.records] == ["state", "closed", "closed"]
    for record in caplog.records:
        assert record.name == "rudp"
        assert record.levelno == logging.INFO
        assert record.__dict__["connection"] == "00000abc"
        assert record.__dict__["peer"] == PEER
    state, reset, orderly = (record.__dict__ for record in caplog.records)
    assert (state["before"], state["after"]) == ("SYN_SENT", "ESTABLISHED")
    assert state["event_name"] == "RECEIVE_SYN_ACK"
    assert reset["reason"] == "RESET_BY_PEER"
    assert orderly["reason"] is None


def test_standard_logging_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    """Segments as well, each with its header in words."""
    caplog.set_level(logging.DEBUG, logger="rudp")
    tell_everything(observe(0xABC, PEER))
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["state", "received", "sent", "closed", "closed"]
    received, sent = (record.__dict__ for record in caplog.records[1:3])
    assert received["levelno"] == sent["levelno"] == logging.DEBUG
    assert received["segment"] == str(SEGMENT) == "[PA] seq 1000 ack 2000 win 512 len 5"
    assert received["segments"] == 2
    assert sent["segment"] == "[S] seq 7 ack 0 win 100 len 0"
    assert (sent["segments"], sent["size"]) == (3, 3000)
    assert received["connection"] == sent["connection"] == "00000abc"


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR])
def test_standard_logging_above_info(level: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(level, logger="rudp")
    assert observe(0xABC, PEER) is None


def test_plain_formatters_work(caplog: pytest.LogCaptureFixture) -> None:
    """basicConfig() formats the message without knowing of structlog."""
    caplog.set_level(logging.INFO, logger="rudp")
    tell_everything(observe(0xABC, PEER))
    formatter = logging.Formatter("%(levelname)s:%(name)s:%(message)s %(connection)s")
    assert formatter.format(caplog.records[0]) == "INFO:rudp:state 00000abc"


# -- structlog -----------------------------------------------------------------------------------


def test_structlog_is_followed() -> None:
    log = configure(logging.INFO)
    tell_everything(observe(0xDEAD_BEEF, PEER))
    assert [entry["event"] for entry in log] == ["state", "closed", "closed"]
    assert {entry["connection"] for entry in log} == {"deadbeef"}
    assert {entry["peer"] for entry in log} == {PEER}
    assert {entry["level"] for entry in log} == {"info"}


def test_structlog_at_debug() -> None:
    log = configure(logging.DEBUG)
    tell_everything(observe(0xABC, PEER))
    assert [entry["event"] for entry in log] == ["state", "received", "sent", "closed", "closed"]
    assert [entry["level"] for entry in log] == ["info", "debug", "debug", "info", "info"]
    assert log[1]["segment"] == str(SEGMENT)
    assert log[2]["size"] == 3000


def test_structlog_above_info_observes_nothing() -> None:
    """ "None where nobody would see what it logs": a connection pays nothing for it."""
    log = configure(logging.WARNING)
    assert observe(0xABC, PEER) is None
    assert log == []


def test_structlog_before_standard_logging(caplog: pytest.LogCaptureFixture) -> None:
    """Where the program configured structlog, nothing is logged twice."""
    caplog.set_level(logging.DEBUG, logger="rudp")
    log = configure(logging.INFO)
    tell_everything(observe(0xABC, PEER))
    assert len(log) == 3
    assert caplog.records == []


@pytest.mark.parametrize(
    ("level", "names"),
    [
        (logging.DEBUG, ["state", "received", "sent", "closed", "closed"]),
        (logging.INFO, ["state", "closed", "closed"]),
    ],
)
def test_structlog_on_top_of_standard_logging(
    level: int, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """structlog's standard-library set-up: the level is the logger's."""
    log = Log()
    structlog.configure(
        processors=[log],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    caplog.set_level(level, logger="rudp")
    tell_everything(observe(0xABC, PEER))
    assert [entry["event"] for entry in log] == names


@pytest.mark.parametrize(
    "wrapper",
    [structlog.BoundLogger, structlog.stdlib.BoundLogger],
    ids=["generic", "standard library's, without its factory"],
)
def test_loggers_that_have_no_level(wrapper: type) -> None:
    """A logger that cannot say what it lets through gets everything; asking it must neither
    raise (it would be out of the endpoint) nor be logged as an event."""
    log = Log()
    structlog.configure(processors=[log], wrapper_class=wrapper)
    tell_everything(observe(0xABC, PEER))
    assert [entry["event"] for entry in log] == ["state", "received", "sent", "closed", "closed"]


# -- connections ---------------------------------------------------------------------------------


def test_a_conversation_at_info() -> None:
    """The arrows of RFC 9293 §3.3.2, figure 5, as they were followed by both sides."""
    log = configure(logging.INFO)
    ours, theirs = converse(CorePair(1))
    assert {entry["event"] for entry in log} == {"state", "closed"}

    def states(connection: int) -> list[str]:
        mine = [entry for entry in log.named("state") if entry["connection"] == f"{connection:08x}"]
        for before, after in pairwise(mine):
            assert before["after"] == after["before"]
        assert mine[0]["before"] == "CLOSED"
        return [entry["after"] for entry in mine]

    assert states(ours)[:2] == ["SYN_SENT", "ESTABLISHED"]
    assert states(theirs)[:2] == ["SYN_RECEIVED", "ESTABLISHED"]
    assert states(ours)[-1] == states(theirs)[-1] == "CLOSED"
    closed = log.named("closed")
    assert {entry["connection"] for entry in closed} == {f"{ours:08x}", f"{theirs:08x}"}
    assert [entry["reason"] for entry in closed] == [None, None]
    peers = {entry["connection"]: entry["peer"] for entry in log}
    assert peers == {f"{ours:08x}": "b", f"{theirs:08x}": "a"}


def test_a_conversation_at_debug() -> None:
    """Every segment of it: what one side sent, the other received."""
    log = configure(logging.DEBUG)
    converse(CorePair(1))
    sent, received = log.named("sent"), log.named("received")
    assert {entry["level"] for entry in sent + received} == {"debug"}
    assert sent[0]["segment"].startswith("[S] ")
    assert [entry["segment"].split()[0] for entry in received[:3]] == ["[S]", "[SA]", "[A]"]
    assert any(entry["segment"].endswith(" len 5") for entry in received)
    assert sum(entry["segments"] for entry in sent) > 5
    # A data train names its bytes with headers; pure ACKs are the header alone.
    assert {entry["size"] for entry in sent} >= {24, 29}


def test_an_error_is_logged_with_its_reason() -> None:
    log = configure(logging.INFO)
    pair = CorePair(2)
    pair.a.endpoint._observe = lambda cid, peer, _: observe(cid, peer)
    conn = pair.a.endpoint.connect("b", pair.now_s)
    pair.flush(pair.a, conn)
    pair.run(1.0)
    (closed,) = log.named("closed")
    assert closed["reason"] == "REFUSED"
    assert closed["peer"] == "b"


def test_a_whole_program_is_logged() -> None:
    """open_connection and start_server: observed without any further ado."""
    log = configure(logging.INFO)

    async def main() -> bytes:
        async def echo(reader: Any, writer: Any) -> None:
            writer.write(await reader.read())
            writer.close()

        server = await rudp.start_server(echo, "127.0.0.1", 4433)
        reader, writer = await rudp.open_connection("127.0.0.1", 4433)
        writer.write(b"hello")
        writer.write_eof()
        answer: bytes = await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return answer

    assert run(main(), network=Network(3)) == b"hello"
    established = [entry for entry in log.named("state") if entry["after"] == "ESTABLISHED"]
    assert len(established) == 2
    assert len({entry["connection"] for entry in established}) == 2
    assert all(entry["peer"][0] == "127.0.0.1" for entry in established)
