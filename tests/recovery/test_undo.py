"""rudp.recovery.undo: was it all for nothing? (RFC 3522, RFC 2883, RFC 3708, RFC 4015)"""

from __future__ import annotations

from rudp.recovery.undo import UndoWatch


def watch(*sizes: int, began_s: float = 1.0) -> UndoWatch:
    """A watch over a reduction after which these sizes were sent again."""
    undo = UndoWatch()
    undo.begin(began_s)
    for size in sizes:
        undo.on_sent_again(size)
    return undo


def test_an_echo_from_before_the_retransmission() -> None:
    """RFC 3522 §3.2, step 4: the timestamp echoed is smaller than RetransmitTS."""
    assert watch(1000).is_original(0.9, 1.0)
    assert watch(1000).is_original(1.2, 1.5), "though after the reduction"


def test_an_echo_of_the_retransmission() -> None:
    """RFC 3522 §3.2, step 4, the counter-example: not smaller, so the retransmission arrived."""
    assert not watch(1000).is_original(1.0, 1.0)
    assert not watch(1000).is_original(2.0, 1.0)


def test_the_same_tick_of_the_clock_decides_nothing() -> None:
    """RFC 3522 §3.2: what is one microsecond apart may have been the same moment."""
    assert not watch(1000).is_original(1.0 - 1e-6, 1.0)
    assert watch(1000).is_original(1.0 - 1e-5, 1.0)


def test_what_was_never_sent_again_proves_nothing() -> None:
    """RFC 3522 §3.2: the first acceptable ACK after the retransmit is that of the hole."""
    assert not watch(1000).is_original(0.5, None)


def test_what_an_earlier_episode_sent_again_proves_nothing() -> None:
    """RFC 3522 §3.2, step 1: RetransmitTS belongs to this loss recovery."""
    assert not watch(1000, began_s=3.0).is_original(0.5, 1.0)


def test_without_a_reduction_there_is_nothing_to_undo() -> None:
    undo = UndoWatch()
    undo.on_sent_again(1000)
    assert not undo.is_original(0.5, 1.0)
    assert not undo.on_duplicate(1000)
    undo = watch(1000)
    undo.stop()
    assert not undo.is_original(0.5, 1.0)
    assert not undo.on_duplicate(1000)


def test_duplicates_of_all_that_was_sent_again() -> None:
    """RFC 2883 §4, RFC 3708 §2: every retransmission was for nothing, not only some."""
    undo = watch(1000, 1000, 500)
    assert not undo.on_duplicate(1000)
    assert not undo.on_duplicate(1000)
    assert undo.on_duplicate(500)


def test_duplicates_of_a_part_only() -> None:
    """RFC 3708 §2, the counter-example: one retransmission filled a hole."""
    undo = watch(1000, 1000)
    assert not undo.on_duplicate(1000)
    assert not undo.on_duplicate(999)


def test_duplicates_of_nothing() -> None:
    """RFC 2883 §5.1: duplication by the network tells nothing where nothing was sent again."""
    undo = watch()
    assert not undo.on_duplicate(1000)
    undo.on_sent_again(1000)
    assert undo.on_duplicate(1000)
    assert not undo.on_duplicate(1000), "and nothing is left after all was"


def test_each_reduction_by_itself() -> None:
    """RFC 3522 §3.2, step 1: a new loss recovery starts the question anew."""
    undo = watch(1000, 1000)
    undo.begin(3.0)
    undo.on_sent_again(500)
    assert undo.on_duplicate(500), "what was sent again before does not count"
