"""rudp.recovery.rack: RFC 8985 §6.2, step by step, on the ledger that it judges."""

from __future__ import annotations

import random

import pytest

from rudp.recovery.ledger import Ledger
from rudp.recovery.rack import Loss, Rack

SEED = 20260401
MSS = 1000
RTT_S = 0.1


class Flow:
    """A ledger and its RACK, told of segments by number; each is sent `gap_s` after the last."""

    def __init__(self, segments: int, *, gap_s: float = 0.001, trains_of: int = 1) -> None:
        self.ledger = Ledger(0)
        self.rack = Rack()
        for index in range(0, segments, trains_of):
            end = min(index + trains_of, segments) * MSS
            self.ledger.sent(end, index // trains_of * gap_s)

    def ack(
        self, now_s: float, *segments: int | tuple[int, int], una: int = 0, min_rtt_s: float = RTT_S
    ) -> None:
        """SACK segments by number, or spans of them; `una` segments are acknowledged."""
        spans = [one if isinstance(one, tuple) else (one, one + 1) for one in segments]
        blocks = [(start * MSS, end * MSS) for start, end in spans]
        edge = max(una * MSS, self.ledger.snd_una)
        delivery = self.ledger.acknowledge(edge, blocks, now_s, min_rtt_s)
        self.rack.on_delivered(delivery, now_s)

    def again(self, segment: int, now_s: float) -> None:
        self.ledger.sent_again(segment * MSS, (segment + 1) * MSS, now_s)

    def detect(self, now_s: float, reo_wnd_s: float = 0.0) -> tuple[list[Loss], float]:
        return self.rack.detect(self.ledger, reo_wnd_s, now_s)

    def lost(self) -> list[tuple[int, int]]:
        return [(start // MSS, end // MSS) for start, end in self.ledger.lost]


# -- step 2: the newest transmission that arrived ------------------------------------------------


def test_nothing_arrived_nothing_is_lost() -> None:
    """§6.2, step 5: only what was sent before something that arrived is judged."""
    flow = Flow(5)
    assert flow.detect(10.0) == ([], 0.0)
    assert not flow.ledger.lost


def test_the_newest_transmission_counts() -> None:
    """§6.2, step 2: RACK.xmit_ts and RACK.end_seq follow the segment sent last."""
    flow = Flow(5)
    flow.ack(0.103, 3)
    assert flow.rack.xmit_s == pytest.approx(0.003)
    assert flow.rack.end_seq == 4 * MSS
    assert flow.rack.rtt_s == pytest.approx(0.1)
    flow.ack(0.104, 1)
    assert flow.rack.xmit_s == pytest.approx(0.003), "an older one does not take its place"
    assert flow.rack.end_seq == 4 * MSS
    flow.ack(0.110, una=5)
    assert flow.rack.xmit_s == pytest.approx(0.004)
    assert flow.rack.end_seq == 5 * MSS


def test_equal_times_go_by_sequence_number() -> None:
    """§6.1, RACK_sent_after: of one train the last segment was sent last."""
    flow = Flow(8, trains_of=8)
    flow.ack(0.1, 5)
    assert (flow.rack.xmit_s, flow.rack.end_seq) == (0.0, 6 * MSS)
    flow.ack(0.1, 3)
    assert flow.rack.end_seq == 6 * MSS
    flow.ack(0.1, 6)
    assert flow.rack.end_seq == 7 * MSS


def test_a_retransmission_acknowledged_too_soon_says_nothing() -> None:
    """§6.2, step 2, rule 2: sooner than RACK.min_RTT it is the original that arrived."""
    flow = Flow(5)
    flow.ack(0.104, (1, 2))
    flow.ledger.mark_lost(0, MSS)
    flow.again(0, 0.104)
    flow.ack(0.150, una=2)
    assert flow.rack.xmit_s == pytest.approx(0.001)
    assert flow.rack.rtt_s == pytest.approx(0.103), "and gives no round trip"
    assert flow.detect(0.150) == ([], 0.0), "what was sent before it is not condemned by it"


def test_a_retransmission_acknowledged_after_a_round_trip_counts() -> None:
    """§6.2, step 2, the counter-example: exactly RACK.min_RTT is not less than it."""
    flow = Flow(5)
    flow.ack(0.104, (1, 2))
    flow.ledger.mark_lost(0, MSS)
    flow.again(0, 0.104)
    flow.ack(0.204, una=2, min_rtt_s=0.0999)
    assert flow.rack.xmit_s == pytest.approx(0.104)
    assert flow.rack.rtt_s == pytest.approx(0.1)
    losses, _ = flow.detect(0.204)
    assert sum(loss.size for loss in losses) == 3 * MSS


# -- step 3: is order kept? ------------------------------------------------------------------------


def test_in_order_delivery_is_no_reordering() -> None:
    """§6.2, step 3: neither cumulatively nor by SACK, upwards."""
    flow = Flow(10)
    flow.ack(0.1, una=1)
    flow.ack(0.1, 2)
    flow.ack(0.1, (2, 5))
    flow.ack(0.1, 7, (2, 5))
    assert not flow.rack.reordering_seen


@pytest.mark.parametrize("how", ["cumulative", "selective"])
def test_an_original_behind_the_highest_is_reordering(how: str) -> None:
    """§6.2, step 3: Segment.end_seq < RACK.fack and never retransmitted."""
    flow = Flow(10)
    flow.ack(0.1, (3, 5))
    assert not flow.rack.reordering_seen
    if how == "cumulative":
        flow.ack(0.1, una=1)
    else:
        flow.ack(0.1, 1, (3, 5))
    assert flow.rack.reordering_seen


def test_a_retransmission_behind_the_highest_is_none() -> None:
    """§6.2, step 3: a filled hole is repair, not reordering."""
    flow = Flow(10)
    flow.ack(0.1, (1, 5))
    flow.ledger.mark_lost(0, MSS)
    flow.again(0, 0.1)
    flow.ack(0.21, una=5)
    assert not flow.rack.reordering_seen


def test_blocks_of_one_acknowledgement_are_no_reordering() -> None:
    """RFC 2018 §4: the newest block comes first, however the segments came in."""
    flow = Flow(10)
    flow.ack(0.1, 7, 5, 3, una=1)
    assert not flow.rack.reordering_seen


# -- step 4: the reordering window -----------------------------------------------------------------


def test_the_window_is_a_quarter_of_the_least_round_trip() -> None:
    """§6.2, step 4: RACK.min_RTT / 4 to begin with."""
    assert Rack().reo_wnd_s(0.1, 0.12, eager=False) == pytest.approx(0.025)


def test_no_window_in_recovery_or_at_dupthresh_unless_order_was_broken() -> None:
    """§6.2, step 4: RACK.reordering_seen is FALSE and (in recovery or pkts_sacked >= DupThresh)."""
    rack = Rack()
    assert rack.reo_wnd_s(0.1, 0.12, eager=True) == 0.0
    rack.reordering_seen = True
    assert rack.reo_wnd_s(0.1, 0.12, eager=True) == pytest.approx(0.025)
    assert rack.reo_wnd_s(0.1, 0.12, eager=False) == pytest.approx(0.025)


def test_a_dsack_widens_the_window_once_a_round_trip() -> None:
    """§6.2, step 4: RACK.reo_wnd_mult grows by one a round that sees a DSACK (dsack_round)."""
    rack = Rack()
    rack.reordering_seen = True
    rack.rtt_s = 1.0
    rack.on_dsack(0, 10 * MSS)
    assert rack.reo_wnd_s(0.1, 1.0, eager=True) == pytest.approx(0.05)
    rack.on_dsack(MSS, 11 * MSS)
    rack.on_dsack(9 * MSS, 19 * MSS)
    assert rack.reo_wnd_mult == 2
    rack.on_dsack(10 * MSS, 20 * MSS)
    assert rack.reo_wnd_mult == 3
    rack.on_dsack(19 * MSS, 29 * MSS)
    assert rack.reo_wnd_mult == 3
    rack.on_dsack(20 * MSS, 30 * MSS)
    assert rack.reo_wnd_s(0.1, 1.0, eager=True) == pytest.approx(0.1)


def test_the_window_is_never_more_than_the_smoothed_round_trip() -> None:
    """§6.2, step 4: min(reo_wnd_mult * min_RTT / 4, SRTT)."""
    rack = Rack()
    rack.reordering_seen = True
    rack.rtt_s = 0.11
    for turn in range(50):
        rack.on_dsack(turn * MSS, (turn + 1) * MSS)
    assert rack.reo_wnd_mult == 51
    assert rack.reo_wnd_s(0.1, 0.11, eager=True) == 0.11


def test_what_overtakes_does_not_shorten_the_wait() -> None:
    """RACK.rtt may be that of a segment that overtook others: once a D-SACK has told that the
    verdict comes too early, time counts from the smoothed round trip instead."""
    rack = Rack()
    rack.reordering_seen = True
    rack.rtt_s = 0.02
    assert rack.reo_wnd_s(0.02, 0.05, eager=True) == pytest.approx(0.005)
    rack.on_dsack(0, MSS)
    assert rack.reo_wnd_s(0.02, 0.05, eager=True) == pytest.approx(0.01 + 0.03)


def test_a_widened_window_lasts_sixteen_recoveries() -> None:
    """§6.2, step 4: reset after 16 recoveries without a DSACK, and not sooner."""
    rack = Rack()
    rack.on_dsack(0, MSS)
    for _ in range(15):
        rack.on_recovery_over()
    assert rack.reo_wnd_mult == 2
    rack.on_dsack(MSS, 2 * MSS)
    assert rack.reo_wnd_mult == 3
    for _ in range(15):
        rack.on_recovery_over()
    assert rack.reo_wnd_mult == 3, "a DSACK begins the sixteen anew"
    rack.on_recovery_over()
    assert rack.reo_wnd_mult == 1
    for _ in range(20):
        rack.on_recovery_over()
    assert rack.reo_wnd_mult == 1


def test_a_dsack_within_the_round_does_not_prolong() -> None:
    """§6.2, step 4: the persistence is set where the multiplier grows."""
    rack = Rack()
    rack.on_dsack(0, 10 * MSS)
    for _ in range(10):
        rack.on_recovery_over()
    rack.on_dsack(5 * MSS, 15 * MSS)
    for _ in range(6):
        rack.on_recovery_over()
    assert rack.reo_wnd_mult == 1


# -- step 5: detection -----------------------------------------------------------------------------


def test_what_was_sent_sufficiently_before_is_lost() -> None:
    """§6.2, step 5: Segment.xmit_ts + RACK.rtt + RACK.reo_wnd - Now() <= 0."""
    flow = Flow(10)
    flow.ack(0.105, 5)
    # 5 was sent at 5 ms and took 100 ms: 0 is due at 100 ms + reo_wnd, 1 a millisecond later.
    losses, remaining_s = flow.detect(0.105, reo_wnd_s=0.0025)
    assert flow.lost() == [(0, 3)]
    assert [loss.size for loss in losses] == [MSS] * 3
    assert [loss.entry.sent_s for loss in losses] == pytest.approx([0.0, 0.001, 0.002])
    assert remaining_s == pytest.approx(0.0005)
    losses, remaining_s = flow.detect(0.1055 + 1e-9, reo_wnd_s=0.0025)
    assert flow.lost() == [(0, 4)]
    assert remaining_s == pytest.approx(0.001)
    flow.detect(0.2, reo_wnd_s=0.0025)
    assert flow.lost() == [(0, 5)]


def test_what_was_sent_later_is_not_judged() -> None:
    """§6.2, step 5: whatever the time, only RACK_sent_after(RACK, Segment) counts."""
    flow = Flow(10)
    flow.ack(0.105, 5)
    assert flow.detect(99.0)[1] == 0.0
    assert flow.lost() == [(0, 5)]
    assert flow.detect(999.0) == ([], 0.0)


def test_what_arrived_meanwhile_is_not_lost() -> None:
    """§6.2, step 5: the window lets a straggler come."""
    flow = Flow(5)
    flow.ack(0.103, 3)
    losses, remaining_s = flow.detect(0.103, reo_wnd_s=0.025)
    assert (losses, flow.lost()) == ([], [])
    assert remaining_s == pytest.approx(0.022)
    flow.ack(0.110, una=4)
    assert flow.detect(0.2, reo_wnd_s=0.025) == ([], 0.0)


@pytest.mark.parametrize("arrived", range(8))
def test_of_a_train_only_what_lies_below_is_judged(arrived: int) -> None:
    """§6.1, RACK_sent_after: at equal times by sequence number, so that of the train which
    RACK.end_seq lies in only the part below it can be lost."""
    flow = Flow(8, trains_of=8)
    flow.ack(0.1, arrived)
    losses, remaining_s = flow.detect(0.2)
    assert flow.lost() == ([(0, arrived)] if arrived else [])
    assert sum(loss.size for loss in losses) == arrived * MSS
    assert remaining_s == 0.0
    assert flow.ledger.in_flight == (8 - arrived - 1) * MSS


def test_a_train_is_judged_further_as_more_of_it_arrives() -> None:
    """§6.1: RACK.end_seq goes up within the train; what was lost is not lost twice."""
    flow = Flow(8, trains_of=8)
    flow.ack(0.1, 2)
    flow.detect(0.1)
    flow.ack(0.101, 5, 2)
    losses, _ = flow.detect(0.101)
    assert sum(loss.size for loss in losses) == 2 * MSS
    assert flow.lost() == [(0, 2), (3, 5)]
    assert flow.ledger.lost_total == 4 * MSS
    flow.ledger.sent(9 * MSS, 0.15)
    flow.ack(0.25, 8, 5, 2)
    flow.detect(0.25)
    assert flow.lost() == [(0, 2), (3, 5), (6, 8)], "a later train shows the rest"


def test_two_trains_of_one_moment() -> None:
    """§6.1: trains that left in the same wake-up are ordered by sequence number as well."""
    flow = Flow(8, trains_of=4, gap_s=0.0)
    flow.ack(0.1, 5)
    flow.detect(0.2)
    assert flow.lost() == [(0, 5)]


def test_a_lost_retransmission_is_found_by_time() -> None:
    """§6.2, step 5: each transmission counts from its own sending. (RFC 6675 leaves it to the
    timeout.)"""
    flow = Flow(5)
    flow.ack(0.104, (1, 5))
    flow.detect(0.104)
    assert flow.lost() == [(0, 1)]
    flow.again(0, 0.104)
    flow.ledger.sent(7 * MSS, 0.106)
    assert flow.detect(0.19) == ([], 0.0), "nothing sent after it has arrived"
    flow.ack(0.206, (1, 7))
    losses, _ = flow.detect(0.206)
    assert [(loss.size, loss.entry.retransmitted) for loss in losses] == [(MSS, True)]
    assert flow.ledger.lost_total == 2 * MSS


def test_a_retransmission_is_not_judged_by_what_was_sent_before_it() -> None:
    """§6.2, step 5, the counter-example: late SACKs of the old flight say nothing about it."""
    flow = Flow(9)
    flow.ack(0.104, (1, 5))
    flow.detect(0.104)
    flow.again(0, 0.104)
    for end in range(6, 10):
        flow.ack(0.1 + 0.001 * end, (1, end))
        assert flow.detect(0.15) == ([], 0.0)
    assert flow.lost() == []


def test_oldest_sending_first_not_lowest_number() -> None:
    """§6.2, step 5: in the order of transmission a retransmission comes behind new data."""
    flow = Flow(3)
    flow.ledger.mark_lost(0, MSS)
    flow.again(0, 0.010)
    flow.ledger.sent(4 * MSS, 0.020)
    flow.ack(0.120, 3)
    losses, _ = flow.detect(0.2)
    assert [loss.entry.sent_s for loss in losses] == pytest.approx([0.001, 0.002, 0.010])


def test_parts_that_arrived_are_not_lost() -> None:
    """§6.2, step 5: "not acknowledged yet" holds for each segment of a train by itself."""
    flow = Flow(20, trains_of=10)
    flow.ack(0.101, (2, 4), 7, 10)
    losses, _ = flow.detect(0.2)
    assert flow.lost() == [(0, 2), (4, 7), (8, 10)]
    assert [loss.size for loss in losses] == [7 * MSS]


def test_an_undone_loss_is_judged_again() -> None:
    """RFC 4015 and §6.2, step 5: what was revived is in flight since its own sending."""
    flow = Flow(6)
    flow.ack(0.105, 5)
    flow.detect(0.105)
    assert flow.lost() == [(0, 5)]
    flow.ledger.unmark_lost()
    assert flow.ledger.in_flight == 5 * MSS
    losses, remaining_s = flow.detect(0.105, reo_wnd_s=0.01)
    assert losses == []
    assert remaining_s == pytest.approx(0.005)
    flow.detect(0.2, reo_wnd_s=0.01)
    assert flow.lost() == [(0, 5)]


def test_undoing_a_loss_on_both_sides_of_a_block() -> None:
    """RFC 4015: a train of which the middle had arrived is in flight once, not twice."""
    flow = Flow(5, trains_of=5)
    flow.ack(0.1, 2)
    flow.ledger.mark_lost(0, 5 * MSS)
    assert flow.lost() == [(0, 2), (3, 5)]
    flow.ledger.unmark_lost()
    order = flow.ledger.order
    entry = order.first()
    assert entry is not None
    assert order.after(entry) is None
    assert flow.ledger.in_flight == 4 * MSS


def test_undoing_keeps_trains_of_one_moment_in_sequence() -> None:
    """§6.1: at equal times order is by sequence number, also for what was taken back."""
    flow = Flow(8, trains_of=4, gap_s=0.0)
    flow.ledger.mark_lost(0, 4 * MSS)
    flow.ledger.unmark_lost()
    flow.ack(0.1, 2)
    flow.detect(0.2)
    assert flow.lost() == [(0, 2)]


@pytest.mark.parametrize("seed", range(SEED, SEED + 40))
def test_detection_by_the_letter(seed: int) -> None:
    """§6.2, steps 2 and 5, segment by segment as the RFC writes them, on random connections."""
    rng = random.Random(seed)
    ledger, rack = Ledger(0), Rack()
    min_rtt_s, now_s, nxt, una = 0.01, 0.0, 0, 0
    sent: dict[int, float] = {}
    again: set[int] = set()
    open_, lost = set[int](), set[int]()
    xmit, rtt_s = (-1.0, 0), 0.0
    for _ in range(150):
        now_s += rng.choice([0.0, 0.001, 0.004, 0.02])
        action = rng.random()
        if action < 0.4 or not open_ | lost:
            size = rng.randint(1, 12)
            ledger.sent(nxt + size, now_s)
            for byte in range(nxt, nxt + size):
                sent[byte] = now_s
                open_.add(byte)
            nxt += size
            continue
        if action < 0.55 and lost and now_s > max(sent.values()):
            start, end = ledger.lost.first()
            end = min(end, start + rng.randint(1, 6))
            ledger.sent_again(start, end, now_s)
            for byte in range(start, end):
                sent[byte] = now_s
                again.add(byte)
                lost.discard(byte)
                open_.add(byte)
            continue
        blocks = []
        if rng.random() < 0.3:
            una = rng.randint(una, nxt)
        while una + 1 < nxt and rng.random() < 0.6:
            left = rng.randint(una + 1, nxt - 1)
            blocks.append((left, rng.randint(left + 1, min(nxt, left + 8))))
        delivery = ledger.acknowledge(una, blocks, now_s, min_rtt_s)
        rack.on_delivered(delivery, now_s)
        acked = {byte for left, right in blocks for byte in range(left, right)}
        acked |= set(range(una))
        new = acked & (open_ | lost)
        true = [b for b in new if not (b in again and now_s - sent[b] < min_rtt_s)]
        if true:
            newest = max(true, key=lambda b: (sent[b], b))
            rtt_s = now_s - sent[newest]
            xmit = max(xmit, (sent[newest], newest + 1))
        open_ -= acked
        lost -= acked
        reo_wnd_s = rng.choice([0.0, 0.0025])
        overdue = {
            b
            for b in open_
            if (sent[b], b + 1) <= xmit and sent[b] + rtt_s + reo_wnd_s - now_s <= 0
        }
        waiting = [
            sent[b] + rtt_s + reo_wnd_s - now_s for b in open_ - overdue if (sent[b], b + 1) <= xmit
        ]
        losses, remaining_s = rack.detect(ledger, reo_wnd_s, now_s)
        assert sum(loss.size for loss in losses) == len(overdue), f"seed {seed}"
        open_ -= overdue
        lost |= overdue
        assert {b for left, right in ledger.lost for b in range(left, right)} == lost
        if waiting:
            # The first that will be lost, not the last: the RFC's one timer a flight is finer here.
            assert 0 < remaining_s <= min(waiting) + 1e-12
