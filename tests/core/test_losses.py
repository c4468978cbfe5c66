"""Loss recovery on the wire: RFC 8985 (RACK-TLP), 9937, 5682, 3522, 2883, 3042, one line a step."""

from __future__ import annotations

import math

import pytest

from .script import Script

NO_SACK = "win=65535 mss=1000 ws=0"
TEN = "0 send 10000\n> A seq=1 len=1000 x9\n> PA seq=9001 len=1000"
FULL = "0 send 20000\n> A seq=1 len=1000 x10"
"""The initial window, and as much again that waits for it."""


def cwnd(script: Script) -> int:
    return script.conn.sender.cc.cwnd


def ssthresh(script: Script) -> float:
    return script.conn.sender.cc.ssthresh


# -- RACK ------------------------------------------------------------------------------------------


def test_fast_recovery_below_dupthresh_waits_a_quarter_round_trip() -> None:
    """RFC 8985 §6.2, step 5 and §6.3: one SACKed segment is enough, min_RTT / 4 later. What the
    train has above RACK.end_seq is not judged; RFC 9937 lets the second one out in its time."""
    script = Script().established()
    script.play(f"""
        {TEN}
        10   < A seq=1 ack=1 sack=2001-3001
        12.4 quiet
        12.5 > A seq=1 len=1000
        12.5 stat fast_recoveries 1
        13   < A seq=1 ack=1 sack=2001-4001
        14   < A seq=1 ack=1 sack=2001-5001
        15   < A seq=1 ack=1 sack=2001-6001
        15   quiet
        16   < A seq=1 ack=1 sack=2001-7001
        16   > A seq=1001 len=1000
        30   < A seq=1 ack=10001
        9999 quiet
    """)
    assert script.conn.stats.bytes_retransmitted == 2000
    assert ssthresh(script) == 5000
    assert script.conn.stats.timeouts == 0


def test_reordering_within_the_window_is_no_loss() -> None:
    """RFC 8985 §6.2, step 4: a segment that comes less than min_RTT / 4 late costs nothing."""
    script = Script().established()
    script.play(f"""
        {TEN}
        10   < A seq=1 ack=1 sack=1001-3001
        12   < A seq=1 ack=3001
        20   < A seq=1 ack=10001
        9999 quiet
    """)
    assert script.conn.stats.bytes_retransmitted == 0
    assert ssthresh(script) == math.inf
    assert script.conn.info(script.now_s).reordering_seen


def test_a_path_that_reorders_gets_its_time_at_dupthresh_too() -> None:
    """RFC 8985 §6.2, step 4: once order was seen broken, three SACKed segments are no proof."""
    script = Script().established()
    script.play(f"""
        {TEN}
        10   < A seq=1 ack=1 sack=1001-3001
        12   < A seq=1 ack=3001
        12   < A seq=1 ack=10001
        12   send 10000
        12   > A seq=10001 len=1000 x9
        12   > PA seq=19001 len=1000
        22   < A seq=1 ack=10001 sack=11001-19001
        22   quiet
        24.4 < A seq=1 ack=19001
        24.4 quiet
        32   < A seq=1 ack=20001
        9999 quiet
    """)
    assert script.conn.stats.bytes_retransmitted == 0


def test_the_reorder_timer_is_stopped_by_what_it_waits_for() -> None:
    """RFC 8985 §6.3: and set by what is missing next."""
    script = Script().established()
    script.play(f"""
        {TEN}
        10   < A seq=1 ack=1 sack=1001-2001
        11   < A seq=1 ack=2001 sack=3001-4001
        13.4 quiet
    """)
    assert script.conn.stats.fast_recoveries == 0
    script.play("13.5 > A seq=2001 len=1000")


def test_a_lost_retransmission_is_found_without_a_timeout() -> None:
    """RFC 8985 §3.2: what was sent after the retransmission has arrived, a round trip after."""
    script = Script().established()
    script.play(f"""
        {TEN}
        0    send 5000
        10   < A seq=1 ack=1 sack=1001-4001
        10   > A seq=1 len=1000                 # lost again
        11   < A seq=1 ack=1 sack=1001-6001
        12   < A seq=1 ack=1 sack=1001-8001
        12   > A seq=10001 len=1000 x2
        13   < A seq=1 ack=1 sack=1001-10001
        13   > A seq=12001 len=1000 x2
        23   < A seq=1 ack=1 sack=1001-12001
        23   > A seq=1 len=1000
        23   > PA seq=14001 len=1000
        33   < A seq=1 ack=15001
        9999 quiet
    """)
    assert script.conn.stats.timeouts == 0
    assert script.conn.stats.fast_recoveries == 1, "one window, one reduction"


def test_a_timeout_takes_only_what_is_old_for_lost() -> None:
    """RFC 8985 §6.3, RACK_mark_losses_on_RTO: the first segment, and those that RACK.rtt and the
    reordering window have run out for; not what was sent a moment ago."""
    script = Script().established()
    script.play("""
        0    send 1000
        0    > PA seq=1 len=1000
        195  send 4000
        195  > A seq=1001 len=1000 x3
        195  > PA seq=4001 len=1000
        200  > A seq=1 len=1000
        204  < A seq=1 ack=1001
        204  quiet
        205  < A seq=1 ack=5001
        9999 quiet
    """)
    assert script.conn.stats.bytes_retransmitted == 1000


def test_a_dsack_widens_the_reordering_window() -> None:
    """RFC 8985 §6.2, step 4: a retransmission that was for nothing asks for more patience."""
    script = Script().established()
    before = script.conn.sender.rack.reo_wnd_mult
    script.play(f"""
        {TEN}
        10   < A seq=1 ack=1 sack=1001-4001
        10   > A seq=1 len=1000
        12   < A seq=1 ack=4001
        20   < A seq=1 ack=4001 sack=1-1001
    """)
    assert script.conn.sender.rack.reo_wnd_mult == before + 1


def test_duplicates_from_the_network_do_not_widen_the_window() -> None:
    """RFC 2883 §5.1: without a retransmission a DSACK tells of a path that duplicates."""
    script = Script().established()
    script.play(f"{TEN}\n10 < A seq=1 ack=4001 sack=1-1001\n20 < A seq=1 ack=10001")
    assert script.conn.sender.rack.reo_wnd_mult == 1
    assert script.conn.stats.spurious_recoveries == 0


# -- limited transmit ------------------------------------------------------------------------------


def test_limited_transmit_with_sack() -> None:
    """RFC 3042 §2: the first two duplicates let one new segment out each; the window stays."""
    script = Script().established()
    script.play(f"""
        {FULL}
        10   < A seq=1 ack=1 sack=1001-2001
        10   > A seq=10001 len=1000
        11   < A seq=1 ack=1 sack=1001-3001
        11   > A seq=11001 len=1000
        12   < A seq=1 ack=1 sack=1001-4001
        12   > A seq=1 len=1000
    """)
    assert ssthresh(script) == 5000, "RFC 5681 §3.2: what it sent does not count"


def test_limited_transmit_without_sack() -> None:
    """RFC 3042 §2."""
    script = Script().established(options=NO_SACK)
    script.play(f"""
        {FULL}
        10   < A seq=1 ack=1
        10   > A seq=10001 len=1000
        11   < A seq=1 ack=1
        11   > A seq=11001 len=1000
        12   < A seq=1 ack=1
        12   > A seq=1 len=1000
    """)


# -- the tail --------------------------------------------------------------------------------------


def test_the_tail_is_probed_after_two_round_trips() -> None:
    """RFC 8985 §7.2, §7.3: PTO = 2 SRTT; the highest segment goes again, and its SACK shows the
    rest, which RACK repairs: no timeout."""
    script = Script(probes=True).established()
    script.play(f"""
        {TEN}
        10   < A seq=1 ack=7001
        29.9 quiet
        30   > PA seq=9001 len=1000
        40   < A seq=1 ack=7001 sack=9001-10001
        40   > A seq=7001 len=1000
        50   < A seq=1 ack=8001 sack=9001-10001
        50   > A seq=8001 len=1000
        60   < A seq=1 ack=10001
        9999 quiet
    """)
    stats = script.conn.stats
    assert (stats.timeouts, stats.tail_probes, stats.fast_recoveries) == (0, 1, 1)


def test_new_data_is_the_better_probe() -> None:
    """RFC 8985 §7.3: an unsent segment if there is one, one more than the window allows."""
    script = Script(probes=True).established()
    script.play(f"""
        {FULL}
        20   > A seq=10001 len=1000
        30   < A seq=1 ack=1 sack=10001-11001
        30   > A seq=1 len=1000
    """)
    stats = script.conn.stats
    assert (stats.timeouts, stats.tail_probes, stats.bytes_retransmitted) == (0, 1, 1000)


def test_new_data_as_probe_is_bounded_by_the_peers_window() -> None:
    """RFC 8985 §7.3: AND the receive window allows new data to be sent."""
    script = Script(probes=True).established(options="win=5000 mss=1000 ws=0 sackok=1")
    script.play("0 send 9000\n> A seq=1 len=1000 x5\n20 > A seq=4001 len=1000")


def test_what_goes_on_being_sent_puts_no_timer_off() -> None:
    """RFC 8985 §7.2, RFC 6298 §5.1: the probe goes where the oldest data's timeout was at the
    latest. A message every 5 ms into the void moved both for as long as the window lasted."""
    script = Script(probes=True).established()
    script.play("0 send 100\n> PA seq=1 len=100\n10 < A seq=1 ack=101")
    rto_ms = script.conn.sender.rtt.rto_s * 1000
    script.checking = False
    for _ in range(int(rto_ms / 5) + 4):
        script.conn.send(b"m" * 10)
        while script.conn.poll(script.now_s) is not None:
            pass
        script.endpoint.settle(script.conn, script.now_s)
        script.now_s += 0.005
        script.endpoint.due(script.now_s)
    assert script.conn.stats.tail_probes == 1


def test_one_probe_a_flight() -> None:
    """RFC 8985 §7.2: none while TLP.end_seq is set; the retransmission timer comes next, counted
    from the probe (§7.3)."""
    script = Script(probes=True).established()
    script.play("""
        0    send 3000
        0    > A seq=1 len=1000 x2
        0    > PA seq=2001 len=1000
        20   > PA seq=2001 len=1000
        219  quiet
        220  > A seq=1 len=1000
    """)
    assert script.conn.stats.timeouts == 1
    assert script.conn.stats.tail_probes == 1


def test_a_single_segment_waits_for_the_delayed_acknowledgement() -> None:
    """RFC 8985 §7.2: FlightSize of one segment: PTO += TLP.max_ack_delay."""
    script = Script(probes=True).established()
    script.play("0 send 10\n> PA seq=1 len=10\n44.9 quiet\n45 > PA seq=1 len=10")


@pytest.mark.parametrize("options", ["win=65535 mss=1000 ws=0", "win=65535 mss=1000"])
def test_no_probe_without_sack(options: str) -> None:
    """RFC 8985 §7.2: the connection supports SACK."""
    script = Script(probes=True).established(options=options)
    script.play("0 send 3000\n> A seq=1 len=1000 x2\n> PA seq=2001 len=1000\n199 quiet")


def test_no_probe_where_something_is_selectively_acknowledged() -> None:
    """RFC 8985 §7.2: no SACKed sequences in the scoreboard: RACK is on it already."""
    script = Script(probes=True).established()
    script.play(f"{TEN}\n10 < A seq=1 ack=1 sack=5001-6001\n12.5 > A seq=1 len=1000\n100 quiet")
    assert script.conn.stats.tail_probes == 0


def test_a_probe_instead_of_an_earlier_timeout() -> None:
    """RFC 8985 §7.2: if the retransmission timer would expire sooner, PTO is that time: on a long
    path the tail gets its probe, too, before the window collapses."""
    script = Script(probes=True).established(rtt_ms=400)
    for turn in range(30):
        script.play(
            f"+0 send 10\n> PA seq={1 + 10 * turn} len=10\n+400 < A seq=1 ack={11 + 10 * turn}"
        )
    rto_ms = script.conn.sender.rtt.rto_s * 1e3
    assert rto_ms < 800
    script.play("+0 send 10\n> PA seq=301 len=10")
    script.play(f"+{rto_ms} > PA seq=301 len=10")
    assert (script.conn.stats.tail_probes, script.conn.stats.timeouts) == (1, 0)


ONE_LEFT = f"{TEN}\n10 < A seq=1 ack=9001\n55 > PA seq=9001 len=1000"
"""All but the last segment is acknowledged, and that is probed for."""


def test_a_probe_that_repaired_the_loss_costs_the_window() -> None:
    """RFC 8985 §7.4.2: the acknowledgement of the probe alone does not tell; one beyond it,
    without a DSACK before, does: congestion control hears of the loss that the probe hid."""
    script = Script(probes=True).established()
    script.play(f"{ONE_LEFT}\n65 < A seq=1 ack=10001")
    assert ssthresh(script) == math.inf, "it may be the original's"
    script.play("70 send 1000\n> PA seq=10001 len=1000\n80 < A seq=1 ack=11001")
    assert ssthresh(script) < math.inf
    script.play("90 send 1000\n> PA seq=11001 len=1000\n100 < A seq=1 ack=12001")
    assert script.conn.stats.timeouts == 0


def test_a_probe_for_nothing_costs_nothing() -> None:
    """RFC 8985 §7.4.2, case 1: the original arrived, its acknowledgement was late, and a DSACK
    tells that the probe came as a second copy."""
    script = Script(probes=True).established()
    original = script.last_tsval
    script.play(f"""
        {ONE_LEFT}
        56   < A seq=1 ack=10001 ecr={original}
        65   < A seq=1 ack=10001 sack=9001-10001
        70   send 1000
        70   > PA seq=10001 len=1000
        80   < A seq=1 ack=11001
    """)
    assert ssthresh(script) == math.inf
    assert script.conn.sender.tail_probe is None


def test_a_new_data_probe_costs_nothing() -> None:
    """RFC 8985 §7.4.2: TLP.is_retrans is false: no loss was hidden."""
    script = Script(probes=True).established()
    script.play(f"{FULL}\n20 > A seq=10001 len=1000\n30 quiet")
    script.inject_line(["A", "seq=1", "ack=11001"])
    assert script.conn.sender.ledger.snd_una == script.iss + 11_001
    assert ssthresh(script) == math.inf
    assert script.conn.sender.tail_probe is None


def test_a_lost_fin_is_probed_for() -> None:
    """RFC 8985 §7.3: the FIN is part of the highest segment; its payload goes with it whole."""
    script = Script(probes=True).established()
    script.play("""
        0    send 1000
        0    > PA seq=1 len=1000
        0    shutdown
        0    > FA seq=1001
        20   > FPA seq=1 len=1000
        30   < A seq=1 ack=1002
        30   state FIN_WAIT_2
        9999 quiet
    """)
    assert script.conn.stats.timeouts == 0


def test_recovery_forgets_the_probe() -> None:
    """RFC 8985 §7.1: TLP.end_seq is reset when fast recovery begins: one loss, one reduction."""
    script = Script(probes=True).established()
    script.play(f"""
        {TEN}
        10   < A seq=1 ack=7001
        30   > PA seq=9001 len=1000
        41   < A seq=1 ack=7001 sack=9001-10001
        41   > A seq=7001 len=1000
    """)
    assert script.conn.sender.in_recovery
    assert script.conn.sender.tail_probe is None


# -- F-RTO -----------------------------------------------------------------------------------------


def test_frto_2a_all_is_acknowledged() -> None:
    """RFC 5682 §3.1, step 2a: the first ACK covers RecoveryPoint: conventional recovery."""
    script = Script().established()
    script.play(
        f"{FULL}\n200 > A seq=1 len=1000\n210 < A seq=1 ack=10001\n> A seq=10001 len=1000 x2"
    )
    assert script.conn.stats.spurious_recoveries == 0
    assert cwnd(script) == 2000


def test_frto_2b_3b_originals_arrive() -> None:
    """RFC 5682 §3.1, steps 2b and 3b: two new segments, then something that the timeout took for
    lost and that was not sent again arrives: the timeout was spurious."""
    script = Script().established()
    script.play(f"""
        {FULL}
        200  > A seq=1 len=1000
        210  < A seq=1 ack=4001
        210  > A seq=10001 len=1000 x2
        215  quiet
    """)
    script.inject_line(["A", "seq=1", "ack=6001"])
    assert script.sent.popleft().segment.seq == script.iss + 12_001, "and more new data"
    script.sent.clear()
    assert script.conn.stats.spurious_recoveries == 1
    assert cwnd(script) >= 10_000
    assert ssthresh(script) == math.inf
    assert script.conn.stats.bytes_retransmitted == 1000


def test_frto_2b_3b_originals_are_selectively_acknowledged() -> None:
    """RFC 5682 §3.1, step 3b: SACK blocks show originals as well."""
    script = Script().established()
    script.play(f"""
        {FULL}
        200  > A seq=1 len=1000
        210  < A seq=1 ack=4001
        210  > A seq=10001 len=1000 x2
        215  quiet
    """)
    script.inject_line(["A", "seq=1", "ack=4001", "sack=5001-7001"])
    script.sent.clear()
    assert script.conn.stats.spurious_recoveries == 1
    assert cwnd(script) >= 10_000


def test_frto_2b_3a_the_rest_is_lost() -> None:
    """RFC 5682 §3.1, step 3a: a duplicate ACK that shows only the new segments: the flight was
    lost, and is repaired in slow start."""
    script = Script().established()
    script.play(f"""
        {FULL}
        200  > A seq=1 len=1000
        210  < A seq=1 ack=4001
        210  > A seq=10001 len=1000 x2
        220  < A seq=1 ack=4001 sack=10001-11001
        220  > A seq=4001 len=1000 x2
    """)
    assert script.conn.stats.spurious_recoveries == 0
    assert ssthresh(script) == 5000


def test_frto_without_new_data() -> None:
    """RFC 5682 §3.1, step 2b: nothing to send that was not sent before: conventional."""
    script = Script().established()
    script.play(f"{TEN}\n200 > A seq=1 len=1000\n210 < A seq=1 ack=4001\n> A seq=4001 len=1000 x2")
    assert script.conn.stats.spurious_recoveries == 0


# -- undo ------------------------------------------------------------------------------------------


def test_eifel_undoes_a_recovery_that_reordering_began() -> None:
    """RFC 3522 §3.2, RFC 4015 §3.2: the acknowledgement echoes the original: the window is what
    it was."""
    script = Script().established()
    script.play(TEN)
    original = script.last_tsval
    script.play(f"""
        10   < A seq=1 ack=1 sack=1001-4001
        10   > A seq=1 len=1000
        15   < A seq=1 ack=4001 ecr={original}
        20   < A seq=1 ack=10001 ecr={original}
        9999 quiet
    """)
    stats = script.conn.stats
    assert (stats.fast_recoveries, stats.spurious_recoveries) == (1, 1)
    assert cwnd(script) >= 10_000
    assert ssthresh(script) == math.inf
    assert stats.bytes_retransmitted == 1000


def test_eifel_leaves_a_true_recovery_alone() -> None:
    """RFC 3522 §3.2, the counter-example: the acknowledgement echoes the retransmission."""
    script = Script().established()
    script.play(f"""
        {TEN}
        10   < A seq=1 ack=1 sack=1001-4001
        10   > A seq=1 len=1000
        20   < A seq=1 ack=10001
        9999 quiet
    """)
    assert script.conn.stats.spurious_recoveries == 0
    assert ssthresh(script) == 5000


def test_eifel_undoes_a_timeout() -> None:
    """RFC 3522 §3.2: a delay spike; what the timeout took for lost is in flight again, and the
    backoff is gone (RFC 4015 §3.3)."""
    script = Script().established()
    script.play(TEN)
    original = script.last_tsval
    script.play(f"""
        200  > A seq=1 len=1000
        201  < A seq=1 ack=1001 ecr={original}
        202  < A seq=1 ack=10001 ecr={original}
        9999 quiet
    """)
    assert script.conn.stats.spurious_recoveries == 1
    assert script.conn.stats.bytes_retransmitted == 1000
    assert cwnd(script) >= 10_000
    assert script.conn.sender.rtt.backoff == 0


def test_a_timeout_with_holes_on_both_sides_of_a_block_is_undone() -> None:
    """RFC 3522 and RFC 6675 §5.1: of one train the middle was SACKed before the timeout; what is
    taken back is in flight once, and the connection goes on."""
    script = Script().established()
    script.play(TEN)
    original = script.last_tsval
    script.play("10 < A seq=1 ack=1 sack=4001-5001\n12.5 > A seq=1 len=1000")
    script.play("212.5 > A seq=1 len=1000")
    # The walk does not end if a transmission stands in the order twice: look before it is made.
    script.conn.sender.ledger.unmark_lost()
    order = script.conn.sender.ledger.order
    seen, entry = [], order.first()
    while entry is not None and len(seen) < 10:
        seen.append((entry.start, entry.end))
        entry = order.after(entry)
    assert len(seen) == len(set(seen)) == 2
    script.play(f"213 < A seq=1 ack=10001 ecr={original}\n9999 quiet")


def test_dsack_undoes_a_recovery() -> None:
    """RFC 3708 §2, RFC 2883 §4: every byte that was sent again had arrived before."""
    script = Script().established()
    script.play(f"""
        {TEN}
        10   < A seq=1 ack=1 sack=1001-4001
        10   > A seq=1 len=1000
        12   < A seq=1 ack=4001
    """)
    assert cwnd(script) == 5000
    script.play("20 < A seq=1 ack=4001 sack=1-1001\n21 < A seq=1 ack=10001\n9999 quiet")
    assert script.conn.stats.spurious_recoveries == 1
    assert cwnd(script) >= 10_000


def test_dsack_of_some_undoes_nothing() -> None:
    """RFC 3708 §2, the counter-example: of two retransmissions one filled a hole."""
    script = Script().established()
    script.play(f"""
        {TEN}
        10   < A seq=1 ack=1 sack=2001-10001
        10   > A seq=1 len=1000 x2
        20   < A seq=1 ack=10001 sack=1-1001
        9999 quiet
    """)
    assert script.conn.stats.spurious_recoveries == 0
    assert ssthresh(script) == 5000


# -- what held the sender back ---------------------------------------------------------------------


def spent_ms(script: Script) -> dict[str, float]:
    """Milliseconds under each limit."""
    return {name: s * 1e3 for name, s in script.conn.info(script.now_s).limited_by.items()}


def test_time_under_the_congestion_window() -> None:
    script = Script().established()
    before = spent_ms(script)
    script.play(
        f"{FULL}\n30 < A seq=1 ack=10001\n> A seq=10001 len=1000 x9\n> PA seq=19001 len=1000"
    )
    script.play("100 quiet")
    after = spent_ms(script)
    assert after["cwnd"] - before["cwnd"] == pytest.approx(30)
    assert after["application"] - before["application"] == pytest.approx(70)
    assert after["receive_window"] == after["pacing"] == 0


def test_time_under_the_peers_window() -> None:
    """Also while it is closed and nothing is in flight."""
    script = Script().established(options="win=5000 mss=1000 ws=0 sackok=1")
    before = spent_ms(script)
    script.play("""
        0    send 9000
        0    > A seq=1 len=1000 x5
        50   < A seq=1 ack=5001 win=0
        150  < A seq=1 ack=5001 win=5000
        150  > A seq=5001 len=1000 x3
        150  > PA seq=8001 len=1000
    """)
    after = spent_ms(script)
    assert after["receive_window"] - before["receive_window"] == pytest.approx(150)


def test_time_under_pacing() -> None:
    """Half a window leaves at once, the rest when its time has come; all time is accounted for."""
    script = Script(pacing=True).established()
    script.play("0 send 1000\n> PA seq=1 len=1000\n10 < A seq=1 ack=1001")
    before = spent_ms(script)
    script.conn.send(bytes(10_000))
    script.checking = False
    for _ in range(10):
        while script.conn.poll(script.now_s) is not None:
            pass
        script.now_s += 0.001
        script.endpoint.due(script.now_s)
    after = spent_ms(script)
    assert after["pacing"] - before["pacing"] >= 1
    assert sum(after.values()) - sum(before.values()) == pytest.approx(10, abs=0.01)
