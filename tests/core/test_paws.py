"""Protection against wrapped sequence numbers: RFC 7323 §4.3 and §5."""

from __future__ import annotations

import pytest

from .script import Script

SECOND = 1_000_000
HALF_TURN = 1 << 31


def test_old_duplicate_is_dropped_and_acknowledged() -> None:
    """RFC 7323 §5.3, R1: an acceptable number with an old timestamp is from another turn."""
    script = Script().established()
    script.play(f"""
        10  < PA seq=1 ack=1 len=10 ts+={-SECOND}
        10  > A ack=1
        10  received 0
        10  stat paws_drops 1
        20  < PA seq=1 ack=1 len=10
        45  > A ack=11
        45  received 10
    """)


@pytest.mark.parametrize("age_us", [1, 400_000, 499_000])
def test_reordering_within_half_a_second_is_accepted(age_us: int) -> None:
    """RFC 7323 §5.3 with a clock of microseconds: what overtook it must not condemn it."""
    script = Script().established()
    script.play(f"""
        0    < PA seq=1 ack=1 len=10
        25   > A ack=11
        600  < PA seq=11 ack=1 len=10
        625  > A ack=21
        625  < PA seq=21 ack=1 len=10 ts={100_610_000 - age_us}
        650  > A ack=31
        650  stat paws_drops 0
    """)


@pytest.mark.parametrize("age_us", [500_001, 510_000, 60 * SECOND, HALF_TURN - 1])
def test_older_is_dropped(age_us: int) -> None:
    """RFC 7323 §5.3, R1: more than the slack, less than half a turn of the clock."""
    script = Script().established()
    script.play(f"""
        0    < PA seq=1 ack=1 len=10 ts=100010000
        25   > A ack=11
        25   < PA seq=11 ack=1 len=10 ts={100_010_000 - age_us}
        25   > A ack=11
        25   stat paws_drops 1
    """)


def test_empty_old_segments_are_dropped_in_silence() -> None:
    """RFC 7323 §5.3, R1: the answer would be answered; only what takes numbers is."""
    script = Script().established()
    script.play(f"""
        0   send 10
        0   > PA seq=1 len=10
        10  < A seq=1 ack=11 ts+={-SECOND}
        10  quiet
        10  stat paws_drops 1
        20  < A seq=1 ack=11
        999 quiet
    """)


def test_resets_are_not_subject_to_it() -> None:
    """RFC 7323 §5.2: a reset is believed by its number alone."""
    script = Script().established()
    script.play(f"10 < R seq=1 ts+={-60 * SECOND}\nstate CLOSED\nreason RESET_BY_PEER")


def test_old_syn_and_fin_are_dropped() -> None:
    """RFC 7323 §5.3, R1: they take numbers, so they are acknowledged."""
    script = Script().established()
    script.play(f"""
        0  < FA seq=1 ack=1 ts+={-SECOND}
        0  > A ack=1
        0  < S seq=1 cid=168430090 ts+={-SECOND}
        0  > A ack=1
        0  state ESTABLISHED
    """)


def test_outdated_ts_recent_after_a_long_silence() -> None:
    """RFC 7323 §5.5: after half a turn of its clock a peer's time may look old, and is not."""
    script = Script().established()
    hour_ms = 3600_000
    script.play(f"""
        {hour_ms}       < PA seq=1 ack=1 len=10
        {hour_ms + 25}  > A ack=11
        {hour_ms + 25}  stat paws_drops 0
    """)


def test_recent_enough_to_be_believed() -> None:
    """RFC 7323 §5.5: before that it still protects."""
    script = Script().established()
    script.play(f"1600000 < PA seq=1 ack=1 len=10 ts+={-1700 * SECOND}\n> A ack=1")
    script.play("1600001 stat paws_drops 1")


def test_ts_recent_of_a_long_connection_is_not_outdated() -> None:
    """RFC 7323 §5.5: it is the age of the last segment that counts, not of the connection."""
    script = Script().established()
    for index in range(6):
        at_ms, seq = 600_000 * (index + 1), 1 + 10 * index
        script.play(f"{at_ms} < PA seq={seq} ack=1 len=10\n+25 > A ack={seq + 10}")
    script.play(f"3700000 < PA seq=61 ack=1 len=10 ts+={-1000 * SECOND}\n> A ack=61\nreceived 60")
    script.play("3700000 stat paws_drops 1")


@pytest.mark.parametrize("peer_ts_offset", [(1 << 32) - 100_500_000, HALF_TURN - 100_500_000])
def test_the_peers_clock_wraps(peer_ts_offset: int) -> None:
    """RFC 7323 §5.4: timestamps are compared modulo 2^32."""
    script = Script(peer_ts_offset=peer_ts_offset).established()
    for index in range(10):
        seq = 1 + 10 * index
        script.play(f"{100 * index} < PA seq={seq} ack=1 len=10\n+25 > A ack={seq + 10}")
    script.play(f"1000 < PA seq=101 ack=1 len=10 ts+={-SECOND}\n> A ack=101\nstat paws_drops 1")


def test_ts_recent_follows_only_what_begins_at_the_edge() -> None:
    """RFC 7323 §4.3: SEG.SEQ <= Last.ACK.sent, so that the echo measures the oldest segment."""
    script = Script().established()
    script.play("""
        0   < A seq=1 ack=1 len=10 ts=100010000
        5   < A seq=11 ack=1 len=10 ts=100015000     # the ACK of the first has not left yet
        25  > A ack=21 ecr=100010000
        30  < A seq=31 ack=1 len=10 ts=100040000     # a hole before it
        30  > A ack=21 ecr=100010000 sack=31-41
        40  < A seq=21 ack=1 len=10 ts=100030000
        40  > A ack=41 ecr=100030000
    """)


def test_ts_recent_never_goes_back() -> None:
    """RFC 7323 §4.3: a reordered segment does not turn the clock back."""
    script = Script().established()
    script.play("""
        0   < A seq=1 ack=1 len=2000 ts=100300000
        25  > A ack=2001 ecr=100300000
        30  < A seq=2001 ack=1 len=10 ts=100200000
        55  > A ack=2011 ecr=100300000
    """)


@pytest.mark.parametrize(
    ("line", "twice"),
    [("A seq=1 ack=5000 len=10", "sack=1-11"), ("A seq=-5000000 ack=1 len=10", "")],
)
def test_repetitions_that_cannot_be_do_not_poison_ts_recent(line: str, twice: str) -> None:
    """RFC 7323 §4.3 and RFC 5961 §5.2: a forged time would make PAWS drop all that is honest."""
    script = Script().established()
    script.play(f"""
        0   < A seq=1 ack=1 len=10
        25  > A ack=11
        30  < {line} ts+={100 * SECOND}
        30  > A ack=11 {twice}
        40  < A seq=11 ack=1 len=10
        65  > A ack=21
        65  stat paws_drops 0
    """)
