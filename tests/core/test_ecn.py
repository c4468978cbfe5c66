"""rudp.core.ecn: marks, their feedback, and paths that do not deserve them (RFC 3168, RFC 9000)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rudp.core.ecn import (
    CE,
    ECT_0,
    ECT_1,
    NOT_ECT,
    REPORTS,
    TESTING_TRAINS,
    EcnReason,
    EcnReceiver,
    EcnSender,
    EcnState,
)

SEGMENT = 1176
WRAP = 1 << 32


class Link:
    """A sender and a receiver, and between them a path that may rewrite codepoints."""

    def __init__(self, rewrite: Callable[[int], int] = lambda codepoint: codepoint) -> None:
        self.sender = EcnSender()
        self.receiver = EcnReceiver()
        self.rewrite = rewrite
        self.now_s = 0.0
        self.marks = 0

    def train(self, segments: int = 10, *, ack: bool = True) -> int:
        """A train arrives, a pure acknowledgement comes back; the codepoint that was sent."""
        self.now_s += 0.05
        sent = self.sender.mark_for(segments * SEGMENT, segments)
        for _ in range(segments):
            self.receiver.on_received(self.rewrite(sent), SEGMENT)
        counts = self.receiver.counts()
        if ack:
            acked = segments * SEGMENT if sent == ECT_0 else 0
            self.marks += self.sender.on_feedback(counts, acked, self.now_s)
        return sent

    def off(self, trains: int = 60) -> EcnReason | None:
        for _ in range(trains):
            self.train()
        return self.sender.reason


def capable() -> Link:
    link = Link()
    link.train()
    assert link.sender.state is EcnState.CAPABLE
    return link


# -- marking -------------------------------------------------------------------------------------


def test_the_first_trains_are_a_test() -> None:
    """RFC 9000 §13.4.2: a few packets are marked; without a verdict no more are."""
    sender = EcnSender()
    assert sender.state is EcnState.TESTING
    marks = [sender.mark_for(SEGMENT) for _ in range(TESTING_TRAINS + 5)]
    assert marks == [ECT_0] * TESTING_TRAINS + [NOT_ECT] * 5
    assert (sender.state, sender.reason) == (EcnState.UNKNOWN, None)


def test_a_late_verdict_resumes_marking() -> None:
    """RFC 9000 A.4: from unknown to capable."""
    sender = EcnSender()
    for _ in range(TESTING_TRAINS):
        sender.mark_for(SEGMENT)
    assert sender.on_feedback((TESTING_TRAINS * SEGMENT, 0, 0), SEGMENT, 3.0) == 0
    assert (sender.state, sender.changed_s) == (EcnState.CAPABLE, 3.0)
    assert sender.mark_for(SEGMENT) == ECT_0


def test_what_carries_no_data_is_not_marked() -> None:
    """RFC 3168 §6.1.4: pure acknowledgements are never ECT."""
    sender = EcnSender()
    assert sender.mark_for(0) == NOT_ECT
    link = capable()
    assert link.sender.mark_for(0) == NOT_ECT


def test_disabled() -> None:
    """A socket that cannot set the field: nothing is marked, nothing is believed."""
    sender = EcnSender(enabled=False)
    assert (sender.state, sender.reason) == (EcnState.OFF, EcnReason.DISABLED)
    assert sender.mark_for(SEGMENT) == NOT_ECT
    assert sender.on_feedback((SEGMENT, 0, SEGMENT), SEGMENT, 1.0) == 0
    sender.on_timeout(1.0)
    sender.on_path_changed(1.0)
    assert (sender.state, sender.reason) == (EcnState.OFF, EcnReason.DISABLED)
    assert sender.changed_s == -math.inf


# -- a path that works ---------------------------------------------------------------------------


def test_a_clean_path_stays_capable() -> None:
    link = Link()
    assert link.off(500) is None
    assert link.sender.state is EcnState.CAPABLE
    assert link.marks == 0


def test_marks_are_reported_once() -> None:
    """RFC 9002 §7.1: an increase of the count is the signal; the same count again is none."""
    link = capable()
    link.rewrite = lambda codepoint: CE
    link.train(3)
    assert link.marks == 3 * SEGMENT == link.sender.ce_bytes
    link.rewrite = lambda codepoint: codepoint
    link.train(5)
    assert link.sender.on_feedback(link.receiver.counts(), 0, 1.0) == 0
    assert link.marks == 3 * SEGMENT
    assert link.sender.state is EcnState.CAPABLE


def test_lost_reports_cost_nothing() -> None:
    """RFC 9768 §3.2.3: counts are cumulative, the next report holds the lost ones too."""
    link = capable()
    link.rewrite = lambda codepoint: CE
    for _ in range(5):
        link.train(2, ack=False)
    assert link.sender.on_feedback(link.receiver.counts(), 0, 1.0) == 10 * SEGMENT
    assert link.sender.on_feedback(None, 10 * SEGMENT, 1.1) == 0
    assert link.sender.state is EcnState.CAPABLE


def test_the_counts_wrap() -> None:
    """Option 135 has 32 bits: 4 GB arrive in half a minute."""
    link = Link()
    chunk = 64 * 1024 * 1024
    for number in range(100):
        assert link.sender.mark_for(chunk, 1000) == ECT_0
        codepoint = CE if number % 4 == 3 else ECT_0
        link.receiver.on_received(codepoint, chunk)
        counts = link.receiver.counts()
        assert counts is not None
        assert max(counts) < WRAP
        new = link.sender.on_feedback(counts, chunk, float(number))
        assert new == (chunk if codepoint == CE else 0)
    assert link.sender.state is EcnState.CAPABLE
    assert link.sender.ce_bytes == 25 * chunk


def test_acknowledgements_that_overtake_each_other() -> None:
    """RFC 9000 §13.4.2.1: MUST NOT fail because of an acknowledgement that came late."""
    link = capable()
    old = (20 * SEGMENT, 0, 0)
    new = (20 * SEGMENT, 0, 5 * SEGMENT)
    link.sender.mark_for(15 * SEGMENT, 15)
    assert link.sender.on_feedback(new, 14 * SEGMENT, 1.0) == 5 * SEGMENT
    assert link.sender.on_feedback(old, 0, 1.1) == 0
    assert link.sender.on_feedback(old, SEGMENT, 1.2) == 0, "it may acknowledge something new"
    assert link.sender.on_feedback(new, 0, 1.3) == 0, "and what it left out is not reported twice"
    assert link.sender.state is EcnState.CAPABLE


def test_duplicated_datagrams_are_no_excess() -> None:
    """Counter-example to excess: the network may duplicate; the receiver counts both."""
    link = Link()
    for _ in range(200):
        sent = link.sender.mark_for(SEGMENT)
        for _ in range(random.Random(link.now_s).choice((1, 1, 2))):
            link.receiver.on_received(sent, SEGMENT)
        link.sender.on_feedback(link.receiver.counts(), SEGMENT, link.now_s)
        link.now_s += 1.0
    assert link.sender.state is EcnState.CAPABLE


def test_random_loss_is_no_bleaching() -> None:
    """RFC 9000 §13.4.2.1: what is lost is neither reported nor acknowledged as marked."""
    link = Link()
    rng = random.Random(7)
    for number in range(500):
        sent = link.sender.mark_for(SEGMENT)
        arrives = rng.random() >= 0.3
        if arrives:
            link.receiver.on_received(sent, SEGMENT)
        if rng.random() >= 0.3:
            acked = SEGMENT if arrives and sent == ECT_0 else 0
            link.sender.on_feedback(link.receiver.counts(), acked, float(number))
    assert link.sender.state is EcnState.CAPABLE


def test_reports_may_be_rare_where_data_flows_both_ways() -> None:
    """Counter-example to bleaching: data segments acknowledge and have no room for options."""
    link = capable()
    for _ in range(20):
        for _ in range(20):
            link.train(20, ack=False)
            link.sender.on_feedback(None, 20 * SEGMENT, link.now_s)
        link.train(1)
    assert link.sender.state is EcnState.CAPABLE


# -- paths and peers that do not ------------------------------------------------------------------


def test_a_bleached_path() -> None:
    """RFC 9000 §13.4.2.1: the field is zeroed, so that the receiver never has a report."""
    link = Link(lambda codepoint: NOT_ECT)
    assert link.off() is EcnReason.BLEACHED
    assert link.sender.state is EcnState.OFF
    assert link.train() == NOT_ECT


def test_a_bleached_path_and_small_messages() -> None:
    """RFC 9000 §13.4.2: the test ends with a verdict even if it was only a few datagrams."""
    link = Link(lambda codepoint: NOT_ECT)
    for _ in range(TESTING_TRAINS + 1):
        link.train(1)
    assert link.sender.reason is EcnReason.BLEACHED


def test_a_path_that_bleaches_later() -> None:
    """RFC 9000 §13.4.2.2: "MUST disable ECN if validation later fails"."""
    link = capable()
    link.rewrite = lambda codepoint: NOT_ECT
    assert link.off(200) is EcnReason.BLEACHED


def test_a_path_that_bleaches_some() -> None:
    """RFC 9000 §13.4.2.1: the increase is smaller than what is newly acknowledged."""
    link = capable()
    counts = (10 * SEGMENT + 9 * SEGMENT, 0, 0)
    link.sender.mark_for(10 * SEGMENT, 10)
    assert link.sender.on_feedback(counts, 10 * SEGMENT, 1.0) == 0
    assert link.sender.reason is EcnReason.BLEACHED


def test_sequence_numbers_of_syn_and_fin_are_not_missed() -> None:
    """Counter-example: they are acknowledged and carry no byte that could arrive marked."""
    link = capable()
    link.sender.mark_for(SEGMENT)
    link.sender.on_feedback((11 * SEGMENT, 0, 0), SEGMENT + 2, 1.0)
    assert link.sender.state is EcnState.CAPABLE


def test_a_path_that_marks_everything() -> None:
    """RFC 9000 §13.4.2.1: erroneous CE marks; every datagram from the first one on."""
    link = Link(lambda codepoint: CE if codepoint else NOT_ECT)
    assert link.off() is EcnReason.ALL_CE


def test_a_path_that_marks_everything_and_small_messages() -> None:
    link = Link(lambda codepoint: CE if codepoint else NOT_ECT)
    for _ in range(TESTING_TRAINS):
        link.train(1)
    assert link.sender.reason is EcnReason.ALL_CE


def test_congestion_from_the_start_is_believed() -> None:
    """Counter-example: a queue that marks much, and not everything."""
    rng = random.Random(3)
    link = Link(lambda codepoint: CE if codepoint and rng.random() < 0.8 else codepoint)
    assert link.off() is None
    assert link.marks > 300 * SEGMENT


def test_marks_count_while_the_test_goes_on() -> None:
    """RFC 3168 §6.1.2: until it is known that they are made up, they are congestion."""
    link = Link(lambda codepoint: CE)
    link.train(2)
    assert (link.marks, link.sender.state) == (2 * SEGMENT, EcnState.TESTING)


def test_remarked_to_ect_1() -> None:
    """RFC 9000 §13.4.2.1: ECT(1) is never sent."""
    link = Link(lambda codepoint: ECT_1)
    link.train(1)
    assert link.sender.reason is EcnReason.REMARKED


def test_more_than_was_sent() -> None:
    """RFC 9000 §13.4.2.1: a total that exceeds what was sent with the mark."""
    link = capable()
    assert link.sender.on_feedback((30 * SEGMENT, 0, 5000), 0, 2.0) == 0
    assert (link.sender.reason, link.sender.changed_s) == (EcnReason.EXCESS, 2.0)


def test_twice_what_was_sent_may_be_duplicates() -> None:
    """Counter-example, to the byte: every datagram may arrive twice, and not one byte more."""
    link = capable()
    assert link.sender.on_feedback((15 * SEGMENT, 0, 5 * SEGMENT), 0, 2.0) == 5 * SEGMENT
    assert link.sender.state is EcnState.CAPABLE
    assert link.sender.on_feedback((15 * SEGMENT, 0, 5 * SEGMENT + 1), 0, 2.0) == 0
    assert link.sender.reason is EcnReason.EXCESS


def test_counts_that_go_back_and_forth() -> None:
    """No order of honest reports has one count grow while another shrinks."""
    link = capable()
    link.sender.mark_for(10 * SEGMENT, 10)
    assert link.sender.on_feedback((9 * SEGMENT, 0, 2 * SEGMENT), SEGMENT, 1.0) == 0
    assert link.sender.reason is EcnReason.BACKWARDS


def test_old_reports_that_acknowledge_nothing_never_count() -> None:
    """RFC 9000 §13.4.2.1: an acknowledgement that is late is no evidence, however often."""
    link = capable()
    for _ in range(100):
        assert link.sender.on_feedback((SEGMENT, 0, 0), 0, 1.0) == 0
    assert link.sender.state is EcnState.CAPABLE


def test_reordering_now_and_then_never_adds_up() -> None:
    """Counter-example: between late reports there are others that go on."""
    link = capable()
    for _ in range(100):
        link.sender.mark_for(10 * SEGMENT, 10)
        link.receiver.on_received(ECT_0, 10 * SEGMENT)
        link.sender.on_feedback(link.receiver.counts(), 9 * SEGMENT, 1.0)
        link.sender.on_feedback((SEGMENT, 0, 0), SEGMENT, 1.0)
    assert link.sender.state is EcnState.CAPABLE


def test_counts_that_stay_back() -> None:
    """A peer that forgot what it had counted is not reordering."""
    link = capable()
    for number in range(20):
        link.sender.mark_for(100)
        link.sender.on_feedback((number * 100, 0, 0), 100, 1.0 + number)
    assert link.sender.reason is EcnReason.BACKWARDS


def test_a_path_that_drops_what_is_marked() -> None:
    """RFC 9000 §13.4.2: all that was marked is lost; retransmissions, unmarked, arrive."""
    sender = EcnSender()
    assert sender.mark_for(10 * SEGMENT, 10) == ECT_0
    sender.on_timeout(1.0)
    assert sender.reason is EcnReason.BLACKHOLED
    assert sender.mark_for(SEGMENT) == NOT_ECT


def test_one_lost_datagram_is_no_black_hole() -> None:
    """Counter-example: a request of one datagram got lost; so may a second one."""
    sender = EcnSender()
    for _ in range(2):
        assert sender.mark_for(100) == ECT_0
        sender.on_timeout(1.0)
        assert sender.state is EcnState.TESTING
        sender.on_feedback(None, 0, 1.1)
    sender.mark_for(100)
    sender.on_timeout(2.0)
    assert sender.reason is EcnReason.BLACKHOLED


def test_an_outage_is_no_black_hole() -> None:
    """Counter-example: nothing new is sent between the timeouts of an outage."""
    link = capable()
    for _ in range(10):
        link.sender.mark_for(10 * SEGMENT, 10)
        for second in range(10):
            link.sender.on_timeout(float(second))
        link.receiver.on_received(ECT_0, 10 * SEGMENT)
        link.sender.on_feedback(link.receiver.counts(), 10 * SEGMENT, 20.0)
    assert link.sender.state is EcnState.CAPABLE


def test_a_path_that_starts_to_drop_what_is_marked() -> None:
    """RFC 9000 §13.4.2.2: in mid-connection; only the retransmissions arrive."""
    link = capable()
    for second in range(3):
        assert link.sender.state is EcnState.CAPABLE
        assert link.sender.mark_for(SEGMENT) == ECT_0
        link.sender.on_timeout(float(second))
        link.sender.on_feedback(None, 0, second + 0.5)
    assert link.sender.reason is EcnReason.BLACKHOLED


def test_off_is_for_the_rest_of_the_connection() -> None:
    """RFC 9000 §13.4.2.2: the first verdict stands."""
    link = Link(lambda codepoint: ECT_1)
    link.train()
    link.rewrite = lambda codepoint: CE
    link.off()
    link.sender.on_path_changed(9.0)
    link.sender.on_timeout(9.0)
    assert (link.sender.state, link.sender.reason) == (EcnState.OFF, EcnReason.REMARKED)
    assert link.marks == 0


def test_another_path_is_tested_anew() -> None:
    """RFC 9000 §13.4.2: "validates this … on active connection migration to a new path"."""
    link = capable()
    link.sender.mark_for(10 * SEGMENT, 10)
    link.sender.on_path_changed(5.0)
    assert (link.sender.state, link.sender.changed_s) == (EcnState.TESTING, 5.0)
    link.receiver.on_received(ECT_0, 4 * SEGMENT)  # of what was in flight
    link.train()
    assert link.sender.state is EcnState.CAPABLE
    link.sender.on_path_changed(6.0)
    link.rewrite = lambda codepoint: CE
    assert link.off() is EcnReason.ALL_CE, "whatever arrived on the old path"


# -- the receiver --------------------------------------------------------------------------------


def test_counts_by_codepoint() -> None:
    """RFC 9000 §13.4.1, §19.3.2: in the order of option 135; what is not ECT is not counted."""
    receiver = EcnReceiver()
    for codepoint, size in ((NOT_ECT, 1), (ECT_1, 20), (ECT_0, 300), (CE, 4000), (ECT_0, 7)):
        receiver.on_received(codepoint, size)
    assert receiver.counts() == (307, 20, 4000)


def test_the_other_bits_of_the_field_are_ignored() -> None:
    """RFC 3168 §5: two bits; the other six are the DSCP (RFC 2474)."""
    receiver = EcnReceiver()
    receiver.on_received(0xB8 | CE, 10)
    assert receiver.counts() == (0, 0, 10)


def test_only_news_is_reported() -> None:
    """Nothing marked, nothing to say; and each report is repeated once, lest it be lost."""
    receiver = EcnReceiver()
    assert receiver.counts() is None
    receiver.on_received(NOT_ECT, 1000)
    receiver.on_received(CE, 0)
    assert not receiver.has_news
    assert receiver.counts() is None
    receiver.on_received(ECT_0, 1000)
    for _ in range(REPORTS):
        assert receiver.has_news
        assert receiver.counts() == (1000, 0, 0)
    assert not receiver.has_news
    assert receiver.counts() is None


def test_when_a_report_is_due() -> None:
    """RFC 9768 §3.2.2.5.1: CE is worth an acknowledgement of its own; so is the first report."""
    receiver = EcnReceiver()
    assert not receiver.is_due
    for _ in range(3):
        receiver.on_received(ECT_0, 1)
        assert not receiver.is_due, "a request and its answer need none"
    receiver.on_received(ECT_0, 1)
    assert receiver.is_due
    receiver.counts()
    assert not receiver.is_due
    receiver.on_received(ECT_0, (1 << 20) - 1)
    assert not receiver.is_due
    receiver.on_received(ECT_0, 1)
    assert receiver.is_due
    receiver.counts()
    receiver.on_received(CE, 1)
    assert receiver.is_due


@pytest.mark.parametrize("size", [2049, 60_000])
def test_a_first_report_of_bulk_data_is_due_at_once(size: int) -> None:
    receiver = EcnReceiver()
    receiver.on_received(ECT_0, size)
    assert receiver.is_due
    receiver.counts()
    receiver.on_received(ECT_0, size)
    assert not receiver.is_due


@pytest.mark.parametrize("lost", [(), (0,), (1,)])
def test_a_dialogue_whose_reports_leave_only_when_due(lost: tuple[int, ...]) -> None:
    """RFC 9000 §13.4.2.1: of data both ways none carries a report. One lost acknowledgement must
    not make the path one that erases marks."""
    sender, receiver = EcnSender(), EcnReceiver()
    reports = 0
    for turn in range(40):
        mark = sender.mark_for(100)
        receiver.on_received(mark, 100)
        counts = None
        if receiver.is_due:
            counts = receiver.counts() if reports not in lost else receiver.counts() and None
            reports += 1
        sender.on_feedback(counts, 100 if mark else 0, float(turn))
    assert sender.state is EcnState.CAPABLE
    assert reports == REPORTS


# -- any order of events --------------------------------------------------------------------------

COUNT = st.sampled_from([0, 1, 1176, 65_536, 1 << 31, WRAP - 1]) | st.integers(0, WRAP - 1)


class AnyPeer(RuleBasedStateMachine):
    """Whatever a peer reports: nothing raises, and it can never report more CE than was sent."""

    @initialize(enabled=st.booleans())
    def begin(self, enabled: bool) -> None:
        self.sender = EcnSender(enabled=enabled)
        self.sent = 0
        self.reported = 0
        self.was_off = not enabled

    @rule(size=st.integers(0, 100_000), datagrams=st.integers(1, 64))
    def send(self, size: int, datagrams: int) -> None:
        codepoint = self.sender.mark_for(size, datagrams)
        assert codepoint in (NOT_ECT, ECT_0)
        assert not (self.was_off and codepoint)
        if codepoint:
            self.sent += size

    @rule(counts=st.none() | st.tuples(COUNT, COUNT, COUNT), acked=st.integers(0, 100_000))
    def feedback(self, counts: tuple[int, int, int] | None, acked: int) -> None:
        marks = self.sender.on_feedback(counts, acked, 0.0)
        assert marks >= 0
        assert not (self.was_off and marks)
        self.reported += marks

    @rule(share=st.sampled_from([0, 1, 2]), acked=st.integers(0, 3000))
    def plausible_feedback(self, share: int, acked: int) -> None:
        half = self.sent // 2 * share
        self.reported += self.sender.on_feedback(((self.sent - half) % WRAP, 0, half), acked, 0.0)

    @rule()
    def timeout(self) -> None:
        self.sender.on_timeout(0.0)

    @rule()
    def path_changed(self) -> None:
        self.sender.on_path_changed(0.0)

    @invariant()
    def bounded(self) -> None:
        sender = self.sender
        off = sender.state is EcnState.OFF
        assert off == (sender.reason is not None)
        assert off or not self.was_off, "off is for good"
        self.was_off = off
        assert sender.ce_bytes == self.reported <= 2 * self.sent


TestAnyPeer = AnyPeer.TestCase
TestAnyPeer.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)
