"""rudp.congestion.bbr.filter: the windowed maximum."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rudp.congestion.bbr import WindowedMax


def test_a_maximum_is_forgotten_after_its_window() -> None:
    """draft-ietf-ccwg-bbr §2.11: two slots are this cycle and the one before."""
    maximum = WindowedMax()
    assert maximum.update(10.0, 0, 2) == 10.0
    assert maximum.update(7.0, 0, 2) == 10.0
    assert maximum.update(5.0, 1, 2) == 10.0
    assert maximum.update(6.0, 2, 2) == 6.0
    assert maximum.update(1.0, 3, 2) == 6.0
    assert maximum.update(1.0, 4, 2) == 1.0


def test_one_slot_looks_at_the_present_alone() -> None:
    """§5.5.9: in Startup the aggregation filter remembers one round."""
    maximum = WindowedMax()
    assert maximum.update(9.0, 3, 1) == 9.0
    assert maximum.update(4.0, 3, 1) == 9.0
    assert maximum.update(4.0, 4, 1) == 4.0


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1e9), st.integers(1, 12)), max_size=60),
)
def test_against_a_model(steps: list[tuple[int, float, int]]) -> None:
    """The maximum over everything ever seen whose slot is young enough, while the window does
    not grow (a grown one may miss what the shorter had dropped)."""
    length = 12
    maximum = WindowedMax()
    seen: list[tuple[int, float]] = []
    slot = 0
    for advance, value, wanted in steps:
        length = min(length, wanted)
        slot += advance
        seen.append((slot, value))
        expected = max(v for s, v in seen if s > slot - length)
        assert maximum.update(value, slot, length) == expected
