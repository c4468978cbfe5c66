"""rudp.recovery.ledger against a model that keeps every byte for itself (RFC 6675 §3, §4)."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rudp.recovery.ledger import Ledger
from rudp.recovery.transmissions import Entry

from .model import LedgerModel, sent


def covered(ranges: object) -> set[int]:
    return {byte for start, end in ranges for byte in range(start, end)}  # type: ignore[attr-defined]


def in_order(ledger: Ledger) -> list[Entry]:
    """The transmissions in the order of sending whose fate is open."""
    entries = []
    entry = ledger.order.first()
    while entry is not None:
        entries.append(entry)
        assert len(entries) <= len(ledger._entries), "the ring does not end"
        entry = ledger.order.after(entry)
    return entries


class LedgerMachine(RuleBasedStateMachine):
    """Sending, retransmission, loss, cumulative and selective ACKs, reneging, in any order."""

    @initialize(start=st.sampled_from([0, 1000, (1 << 32) - 50]))
    def begin(self, start: int) -> None:
        self.ledger = Ledger(start)
        self.model = LedgerModel(start)
        self.now_s = 0.0

    def later(self) -> float:
        if not self.at_once:
            self.now_s += 0.001
        return self.now_s

    @initialize()
    def start_clock(self) -> None:
        self.at_once = False

    @rule(at_once=st.booleans())
    def clock(self, at_once: bool) -> None:
        """Whether what follows happens in one wake-up, at one time."""
        self.at_once = at_once

    def range_in_flight(self, data: st.DataObject) -> tuple[int, int]:
        start = data.draw(st.integers(self.model.snd_una, self.model.snd_nxt - 1), label="start")
        return start, data.draw(st.integers(start + 1, self.model.snd_nxt), label="end")

    def has_outstanding(self) -> bool:
        return bool(self.model.outstanding)

    @rule(size=st.integers(1, 30))
    def sent(self, size: int) -> None:
        now_s = self.later()
        self.ledger.sent(self.model.snd_nxt + size, now_s)
        self.model.sent(self.model.snd_nxt + size, now_s)

    @precondition(has_outstanding)
    @rule(data=st.data())
    def sent_again(self, data: st.DataObject) -> None:
        """Any part of what is outstanding: what is lost, a probe, an ill-judged whim."""
        start, end = self.range_in_flight(data)
        now_s = self.later()
        self.ledger.sent_again(start, end, now_s)
        self.model.sent_again(start, end, now_s)

    @precondition(lambda self: self.model.lost)
    @rule()
    def lowest_lost_sent_again(self) -> None:
        start, end = self.ledger.lost.first()
        now_s = self.later()
        self.ledger.sent_again(start, end, now_s)
        self.model.sent_again(start, end, now_s)

    @rule(data=st.data(), min_rtt_s=st.sampled_from([0.0, 0.003]))
    def acknowledge(self, data: st.DataObject, min_rtt_s: float) -> None:
        una = data.draw(st.integers(self.model.snd_una, self.model.snd_nxt), label="una")
        blocks = []
        while una + 1 < self.model.snd_nxt and len(blocks) < 4 and data.draw(st.booleans()):
            left = data.draw(st.integers(una + 1, self.model.snd_nxt - 1), label="left")
            right = data.draw(st.integers(left + 1, self.model.snd_nxt), label="right")
            blocks.append((left, right))
        now_s = self.later()
        got = self.ledger.acknowledge(una, blocks, now_s, min_rtt_s)
        wanted = self.model.acknowledge(una, blocks, now_s, min_rtt_s)
        assert got.advanced == wanted.advanced
        assert got.delivered == wanted.delivered
        assert got.newly_sacked is wanted.newly_sacked
        assert got.reordered is wanted.reordered
        assert got.oldest_original_s == wanted.oldest_original_s
        assert got.newest_end == wanted.newest_end
        assert got.rate == pytest.approx(wanted.rate)
        if wanted.newest is None:
            assert got.newest is None
        else:
            assert got.newest is not None
            assert got.newest.sent_s == wanted.newest.sent_s
            assert got.newest.retransmitted is wanted.newest.again

    @precondition(has_outstanding)
    @rule(data=st.data())
    def mark_lost(self, data: st.DataObject) -> None:
        start, end = self.range_in_flight(data)
        beyond = data.draw(st.sampled_from([0, 100]), label="beyond what is outstanding")
        got = self.ledger.mark_lost(start - beyond, end + beyond)
        assert got == self.model.mark_lost(start - beyond, end + beyond)

    @precondition(lambda self: self.ledger.order.first() is not None)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """RFC 8985 §6.2, step 5: a transmission is lost, or the part of it below RACK.end_seq."""
        entry = data.draw(st.sampled_from(in_order(self.ledger)), label="entry")
        end = data.draw(st.integers(entry.start + 1, entry.end + 5), label="end")
        wanted = self.model.mark_lost(entry.start, min(end, entry.end))
        assert self.ledger.lose(entry, min(end, entry.end)) == wanted

    @rule()
    def unmark_lost(self) -> None:
        """Nothing was lost: what was not sent again is in flight, and to be judged again."""
        self.ledger.unmark_lost()
        self.model.unmark_lost()
        assert not self.ledger.lost

    @precondition(has_outstanding)
    @rule()
    def timeout(self) -> None:
        """RFC 6298 §5.4, RFC 2018 §8: everything is in question again."""
        if self.model.snd_una in self.model.sacked:
            self.ledger.forget_sacks()
            self.model.forget_sacks()
        got = self.ledger.mark_lost(self.model.snd_una, self.model.snd_nxt)
        assert got == self.model.mark_lost(self.model.snd_una, self.model.snd_nxt)
        assert self.ledger.in_flight == 0
        assert self.ledger.order.first() is None

    @invariant()
    def time_order(self) -> None:
        """RFC 8985 §6.2, step 5 judges the oldest transmission first, and each undecided byte."""
        order = in_order(self.ledger)
        keys = [entry.sent_s for entry in order]
        assert keys == sorted(keys)
        assert len({id(entry) for entry in order}) == len(order)
        undecided = self.model.undecided
        open_entries = [
            entry
            for entry in self.ledger._entries
            if not undecided.isdisjoint(range(entry.start, entry.end))
        ]
        assert {id(entry) for entry in order} >= {id(entry) for entry in open_entries}
        assert {id(entry) for entry in order} <= {id(entry) for entry in self.ledger._entries}
        backwards = []
        entry = order[-1] if order else None
        while entry is not None and entry.end > entry.start:
            backwards.append(entry)
            entry = entry.prev
        assert backwards == order[::-1], "the ring leads back as it leads forth"

    @invariant()
    def scoreboard(self) -> None:
        ledger, model = self.ledger, self.model
        assert (ledger.snd_una, ledger.snd_nxt) == (model.snd_una, model.snd_nxt)
        assert covered(ledger.sacked) == model.sacked
        assert covered(ledger.lost) == model.lost
        assert not model.sacked & model.lost
        assert ledger.in_flight == model.in_flight
        assert ledger.fack == model.fack
        assert ledger.delivered == model.delivered
        assert ledger.delivered == model.snd_una - model.start + len(model.sacked)
        assert ledger.lost_total == model.lost_total
        assert ledger.retransmitted_total == model.retransmitted_total

    @invariant()
    def entries(self) -> None:
        """The entries cover what is outstanding, each byte once, with its last transmission."""
        at = self.model.snd_una
        for entry in self.ledger._entries:
            assert entry.start == at < entry.end
            for byte in range(entry.start, entry.end):
                sent = self.model.last[byte]
                assert (entry.sent_s, entry.retransmitted) == (sent.sent_s, sent.again)
            at = entry.end
        assert at == self.model.snd_nxt
        if self.model.outstanding:
            assert self.ledger.oldest_sent_s == self.model.last[self.model.snd_una].sent_s
        else:
            assert self.ledger.oldest_sent_s is None


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(deadline=None, max_examples=40, stateful_step_count=30)


# -- examples ------------------------------------------------------------------------------------


def test_nothing_is_outstanding_at_first() -> None:
    ledger = Ledger(1000)
    assert ledger.snd_una == ledger.snd_nxt == 1000
    assert ledger.in_flight == ledger.delivered == 0
    assert ledger.oldest_sent_s is None


def test_one_entry_a_train() -> None:
    """The unit of work is the train: 64 segments cost one entry, not 64."""
    ledger = sent(64 * 1176, 128 * 1176)
    assert len(ledger._entries) == 2
    ledger.acknowledge(10 * 1176, [], 1.0)
    assert len(ledger._entries) == 2
    ledger.acknowledge(64 * 1176, [], 1.1)
    assert len(ledger._entries) == 1
    assert ledger.in_flight == 64 * 1176


def test_sack_then_cumulative_ack_counts_a_byte_once() -> None:
    """RFC 6675 §4: what was SACKed is delivered; the cumulative ACK adds the rest only."""
    ledger = sent(1000, 2000, 3000, 4000)
    first = ledger.acknowledge(0, [(2000, 3000)], 0.1)
    assert first[:3] == (0, 1000, True)
    assert ledger.in_flight == 3000
    again = ledger.acknowledge(0, [(2000, 3000)], 0.11)
    assert again[:3] == (0, 0, False)
    rest = ledger.acknowledge(4000, [], 0.2)
    assert rest[:3] == (4000, 3000, False)
    assert ledger.delivered == 4000
    assert ledger.in_flight == 0
    assert not ledger.sacked


def test_lost_and_sent_again() -> None:
    """RFC 6675 §4, SetPipe: lost bytes leave the pipe, a retransmission puts them back."""
    ledger = sent(1000, 2000, 3000, 4000)
    ledger.acknowledge(0, [(1000, 4000)], 0.1)
    assert ledger.mark_lost(0, 1000) == 1000
    assert ledger.in_flight == 0
    ledger.sent_again(0, 1000, 0.2)
    assert ledger.in_flight == 1000
    assert not ledger.lost
    # Lost once more: a retransmission can be lost, too.
    assert ledger.mark_lost(0, 1000) == 1000
    assert ledger.lost_total == 2000
    told = ledger.acknowledge(4000, [], 0.3)
    assert told.delivered == 1000
    assert not ledger.lost


def test_a_late_original_clears_the_loss() -> None:
    """Deemed lost, and then SACKed after all: reordering, not loss."""
    ledger = sent(1000, 2000, 3000)
    ledger.mark_lost(0, 2000)
    ledger.acknowledge(0, [(1000, 2000)], 0.1)
    assert list(ledger.lost) == [(0, 1000)]
    assert ledger.in_flight == 1000


def test_a_retransmission_splits_the_entry_it_lies_in() -> None:
    ledger = sent(10_000)
    ledger.sent_again(4000, 5000, 1.0)
    parts = [(part.start, part.end, part.retransmitted) for part in ledger._entries]
    assert parts == [(0, 4000, False), (4000, 5000, True), (5000, 10_000, False)]
    assert [part.sent_s for part in ledger._entries] == [0.0, 1.0, 0.0]
    ledger.sent_again(3000, 6000, 2.0)
    parts = [(part.start, part.end, part.retransmitted) for part in ledger._entries]
    assert parts == [(0, 3000, False), (3000, 6000, True), (6000, 10_000, False)]


def test_duplicate_acks_of_a_peer_without_sack() -> None:
    """RFC 6582 §3.2, step 2: each duplicate ACK stands for a segment that has left."""
    ledger = sent(10_000)
    ledger.assumed_left = 3000
    assert ledger.in_flight == 7000
    ledger.mark_lost(0, 1000)
    assert ledger.in_flight == 6000
    ledger.assumed_left = 20_000
    assert ledger.in_flight == 0, "never negative"
    ledger.assumed_left = 3000
    ledger.acknowledge(2000, [], 0.1)
    assert ledger.assumed_left == 1000
    ledger.acknowledge(9000, [], 0.2)
    assert ledger.assumed_left == 0
    assert ledger.in_flight == 1000


def test_reneging() -> None:
    """RFC 2018 §8: SACKed data that the receiver discarded is outstanding again, and its
    delivery does not count until it is acknowledged."""
    ledger = sent(1000, 2000, 3000)
    ledger.acknowledge(0, [(1000, 3000)], 0.1)
    assert ledger.delivered == 2000
    ledger.assumed_left = 5
    ledger.forget_sacks()
    assert ledger.delivered == ledger.assumed_left == 0
    assert ledger.in_flight == 3000
    assert ledger.mark_lost(0, 3000) == 3000
    ledger.sent_again(0, 3000, 0.2)
    told = ledger.acknowledge(3000, [], 0.3)
    assert told.delivered == ledger.delivered == 3000
    assert told.rate >= 0


def test_reneging_gives_no_negative_rate() -> None:
    """What was sent on the strength of SACKs that were then taken back samples nothing."""
    ledger = sent(1000, 2000, 3000)
    ledger.acknowledge(0, [(1000, 3000)], 0.1)
    ledger.sent(4000, 0.15)
    ledger.forget_sacks()
    told = ledger.acknowledge(0, [(3000, 4000)], 0.3)
    assert told.delivered == 1000
    assert told.rate == 0.0
