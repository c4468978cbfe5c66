"""rudp.core.mtu: path MTU discovery for datagrams (RFC 8899), on paths that the tests make up."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rudp.core.mtu import (
    BASE_PLPMTU,
    BLACK_HOLE_TIMEOUTS,
    COMMON_SIZES,
    HOLD_S,
    MAX_PROBES,
    MIN_PLPMTU,
    RAISE_S,
    MtuState,
    PathMtu,
)

TOP = 65_507


class Path:
    """A path that carries datagrams up to `mtu` bytes, and loses some of them at random.

    Every step is a round trip: a full segment goes, and a probe if one is due.
    """

    def __init__(
        self,
        mtu: PathMtu,
        carries: int,
        *,
        loss: float = 0.0,
        seed: int = 0,
        interface: int = TOP,
    ) -> None:
        self.mtu = mtu
        self.carries = carries
        self.loss = loss
        self.interface = interface
        self.random = random.Random(seed)
        self.now_s = 0.0
        self.probes: list[int] = []
        self.probes_lost = 0
        self.refused = 0
        self.timeouts = 0

    def passes(self, size: int) -> bool:
        return size <= self.carries and self.random.random() >= self.loss

    def step(self) -> None:
        self.now_s += 0.05
        if self.mtu.size > self.interface:
            self.mtu.on_too_big(self.mtu.size, self.now_s)
        elif self.passes(self.mtu.size):
            self.mtu.on_acked(self.mtu.size)
        elif self.mtu.size > self.carries:
            self.timeouts += 1
            self.mtu.on_timeout(self.now_s)
        size = self.mtu.probe_size(self.now_s)
        while size is not None and size > self.interface:
            self.refused += 1
            self.mtu.on_probe_sent(size, self.now_s)
            self.mtu.on_too_big(size, self.now_s)
            size = self.mtu.probe_size(self.now_s)
        if size is not None:
            self.probe(size)

    def probe(self, size: int) -> None:
        before = self.mtu.size
        assert size > before, "a probe is larger than what is known to pass"
        self.probes.append(size)
        self.mtu.on_probe_sent(size, self.now_s)
        assert self.mtu.probe == size
        assert self.mtu.probe_size(self.now_s) is None, "one at a time"
        if self.passes(size):
            assert self.mtu.on_probe_acked(self.now_s)
            assert self.mtu.size == size
        else:
            self.probes_lost += 1
            self.mtu.on_probe_lost(self.now_s)
            assert self.mtu.size == before

    def settle(self, steps: int = 200) -> PathMtu:
        for _ in range(steps):
            self.step()
            if self.mtu.state is MtuState.SEARCH_COMPLETE:
                return self.mtu
        raise AssertionError(f"no end of the search in {steps} round trips: {self.probes}")


def useful_gain(size: int) -> int:
    return max(16, size // 64)


def confirmed(base: int = 1200, ceiling: int = 1472) -> PathMtu:
    """A PathMtu that knows of one full segment at the base, and therefore searches."""
    mtu = PathMtu(base, ceiling)
    mtu.on_acked(base)
    return mtu


def probe(mtu: PathMtu, now_s: float = 0.0) -> int:
    """Send the probe that is due."""
    size = mtu.probe_size(now_s)
    assert size is not None
    mtu.on_probe_sent(size, now_s)
    return size


def lose(mtu: PathMtu, times: int = MAX_PROBES, now_s: float = 0.0) -> int:
    """Let the probe that is due be lost so often; all of them ask for the same size."""
    sizes = set()
    for _ in range(times):
        sizes.add(probe(mtu, now_s))
        mtu.on_probe_lost(now_s)
    assert len(sizes) == 1
    return sizes.pop()


def complete(ceiling: int = TOP, carries: int = 1472) -> PathMtu:
    return Path(PathMtu(1200, ceiling), carries).settle()


# -- construction and the states ------------------------------------------------------------------


@pytest.mark.parametrize(("base", "ceiling", "name"), [(0, 1472, "base"), (1200, -1, "ceiling")])
def test_sizes_must_be_positive(base: int, ceiling: int, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        PathMtu(base, ceiling)


def test_starts_at_the_base_and_probes_nothing_before_it_is_confirmed() -> None:
    """RFC 8899 §5.1.4, §5.2 (BASE): a full segment of that size has to arrive first."""
    mtu = PathMtu(1200, TOP)
    assert (mtu.size, mtu.state) == (1200, MtuState.BASE)
    assert mtu.next_s == math.inf
    assert mtu.probe_size(1e9) is None
    mtu.on_acked(1199)
    assert mtu.state is MtuState.BASE, "a smaller one proves nothing"
    mtu.on_acked(1200)
    assert mtu.state is MtuState.SEARCHING
    assert mtu.next_s <= 0.0
    assert mtu.probe_size(0.0) == COMMON_SIZES[0]
    assert mtu.probe_size(0.0) == COMMON_SIZES[0], "asking changes nothing"


def test_the_base_is_capped_by_the_ceiling() -> None:
    """RFC 8899 §5.1.2: MAX_PLPMTU is the lesser of the own limit and the peer's."""
    mtu = confirmed(1200, 900)
    assert mtu.size == 900
    mtu.on_acked(900)
    assert mtu.probe_size(0.0) is None
    assert mtu.state is MtuState.SEARCH_COMPLETE
    assert mtu.next_s == math.inf, "nothing above the ceiling to wait for"


def test_disabled_never_probes_and_never_falls_by_suspicion() -> None:
    """RFC 8899 §5.2 (DISABLED)."""
    mtu = PathMtu(9000, 9000, enabled=False)
    mtu.on_acked(9000)
    assert mtu.probe_size(0.0) is None
    assert mtu.next_s == math.inf
    assert not any(mtu.on_timeout(float(second)) for second in range(20))
    assert not any(mtu.on_loss_suspicion(float(second)) for second in range(20))
    mtu.on_probe_sent(9000, 0.0)
    assert mtu.probe is None
    assert (mtu.size, mtu.state) == (9000, MtuState.DISABLED)


def test_disabled_still_obeys_the_local_socket() -> None:
    """Counter-example: EMSGSIZE is no suspicion; insisting would send nothing ever again."""
    mtu = PathMtu(9000, 9000, enabled=False)
    assert mtu.on_too_big(9000, 0.0)
    assert (mtu.size, mtu.state) == (BASE_PLPMTU, MtuState.DISABLED)
    assert mtu.on_too_big(BASE_PLPMTU, 0.0)
    assert mtu.size == MIN_PLPMTU
    assert mtu.on_path_changed(1.0)
    assert (mtu.size, mtu.state) == (9000, MtuState.DISABLED)
    assert not mtu.on_path_changed(2.0)


def test_an_acknowledged_probe_raises_the_size() -> None:
    """RFC 8899 §5.2 (SEARCHING), §5.3.1."""
    mtu = confirmed(ceiling=TOP)
    assert probe(mtu) == 1452
    assert mtu.size == 1200, "not before it is acknowledged"
    assert mtu.on_probe_acked(0.1)
    assert (mtu.size, mtu.state) == (1452, MtuState.SEARCHING)
    assert mtu.probe_size(0.1) == 1472


def test_a_probe_of_the_ceiling_ends_the_search() -> None:
    """RFC 8899 §5.2: "MAX_PLPMTU Probe acked"; there is nothing to raise later."""
    mtu = confirmed(ceiling=1472)
    for _ in range(2):
        probe(mtu)
        mtu.on_probe_acked(0.1)
    assert (mtu.size, mtu.state) == (1472, MtuState.SEARCH_COMPLETE)
    assert mtu.next_s == math.inf
    assert mtu.probe_size(1e9) is None


def test_a_ceiling_between_two_common_sizes_is_probed_itself() -> None:
    """RFC 8899 §5.3.1: the search range ends at MAX_PLPMTU."""
    mtu = confirmed(ceiling=2000)
    sizes = []
    while mtu.state is MtuState.SEARCHING:
        sizes.append(probe(mtu))
        mtu.on_probe_acked(0.0)
    assert sizes == [1452, 1472, 2000]


def test_fewer_than_max_probes_losses_are_no_failure() -> None:
    """RFC 8899 §5.1.3: "loss of a single probe is not an indication of a PMTU problem"."""
    mtu = confirmed()
    lose(mtu, MAX_PROBES - 1)
    assert mtu.state is MtuState.SEARCHING
    assert probe(mtu) == 1452, "the same size again"
    assert mtu.on_probe_acked(0.1)
    assert mtu.size == 1452


def test_an_acknowledged_probe_clears_the_count() -> None:
    """RFC 8899 §5.2: "Each time a probe packet is acknowledged, the PROBE_COUNT is set to zero"."""
    mtu = confirmed()
    lose(mtu, MAX_PROBES - 1)
    probe(mtu)
    mtu.on_probe_acked(0.1)
    lose(mtu, MAX_PROBES - 1)
    assert probe(mtu) == 1472, "two losses here, two before: no three in a row"


def test_max_probes_losses_fail_a_size() -> None:
    """RFC 8899 §5.1.2; then smaller ones are tried (§5.3.1: "or any other size")."""
    mtu = confirmed()
    assert lose(mtu) == 1452
    assert mtu.size == 1200
    assert probe(mtu) == (1200 + 1452) // 2


def test_losses_of_another_size_do_not_count() -> None:
    """RFC 8899 §5.1.3 counts probes of any size; here each size has its own `MAX_PROBES`."""
    mtu = confirmed()
    lose(mtu, MAX_PROBES - 1)
    assert not mtu.on_too_big(1452, 0.0)
    assert lose(mtu, MAX_PROBES - 1) == 1326
    assert mtu.probe_size(0.0) == 1326


def test_lost_probes_leave_the_size_alone() -> None:
    """RFC 8899 §3, item 7: the loss of a probe says nothing about what passes."""
    path = Path(PathMtu(1200, TOP), 1210)
    assert path.settle().size == 1200
    assert path.timeouts == 0


def test_search_complete_waits_for_the_raise_timer() -> None:
    """RFC 8899 §5.1.1: PMTU_RAISE_TIMER, 600 s."""
    mtu = confirmed(ceiling=1472)
    probe(mtu)
    mtu.on_probe_acked(1.0)
    assert lose(mtu, now_s=2.0) == 1472
    assert (mtu.size, mtu.state) == (1452, MtuState.SEARCH_COMPLETE)
    assert mtu.next_s == 2.0 + RAISE_S
    assert mtu.probe_size(1.9 + RAISE_S) is None
    assert mtu.state is MtuState.SEARCH_COMPLETE
    assert mtu.probe_size(2.0 + RAISE_S) == 1472
    assert mtu.state is MtuState.SEARCHING


def test_what_bad_luck_missed_is_found_when_the_raise_timer_expires() -> None:
    """RFC 8899 §5.3.3: a good size that lost its probes by chance is not lost for ever."""
    mtu = confirmed(ceiling=TOP)
    probe(mtu)
    mtu.on_probe_acked(0.0)
    while mtu.state is MtuState.SEARCHING:
        lose(mtu)
    assert mtu.size == 1452
    path = Path(mtu, 1472)
    path.now_s = RAISE_S
    assert path.settle().size == 1472


def test_a_raised_path_is_noticed() -> None:
    """RFC 8899 §5.2: PMTU_RAISE_TIMER re-enters SEARCHING; nothing is probed before it."""
    path = Path(PathMtu(1200, TOP), 1472)
    path.settle()
    path.carries = 8972
    sent = len(path.probes)
    for _ in range(100):
        path.step()
    assert len(path.probes) == sent
    path.now_s += RAISE_S
    path.step()
    assert path.mtu.state is MtuState.SEARCHING
    assert path.settle().size == 8972


# -- the search ----------------------------------------------------------------------------------

SOME_MTUS = [
    *(1200, 1210, 1232, 1252, 1280, 1300, 1372, 1392, 1428, 1432, 1451, 1452, 1453, 1464, 1472),
    *(1473, 1500, 1600, 2016, 2276, 4324, 4442, 5000, 8868, 8952, 8971, 8972, 8973, 12_000),
    *(16_336, 16_356, 20_000, 32_740, 40_000, 65_000, 65_506, TOP),
]


@pytest.mark.parametrize("carries", SOME_MTUS)
def test_search_finds_the_mtu(carries: int) -> None:
    """RFC 8899 §5.3.2: to within 16 bytes or 1/64, with a bounded number of lost segments."""
    path = Path(PathMtu(1200, TOP), carries)
    mtu = path.settle()
    assert mtu.size <= carries
    assert carries - mtu.size < useful_gain(mtu.size)
    if carries in COMMON_SIZES:
        assert mtu.size == carries
    assert path.probes_lost <= 8 * MAX_PROBES
    assert len(path.probes) <= 32
    assert path.timeouts == 0


def test_search_finds_every_mtu() -> None:
    """The same for a thousand sizes, and the bounds over all of them."""
    worst_lost = worst_probes = 0
    for carries in [*range(1200, 1500, 3), *range(1500, 9100, 53), *range(9100, TOP, 211)]:
        path = Path(PathMtu(1200, TOP), carries)
        mtu = path.settle()
        assert 0 <= carries - mtu.size < useful_gain(mtu.size), carries
        worst_lost = max(worst_lost, path.probes_lost)
        worst_probes = max(worst_probes, len(path.probes))
    assert worst_lost <= 8 * MAX_PROBES
    assert worst_probes <= 32


@pytest.mark.parametrize(
    ("carries", "lost_sizes"), [(1452, 1), (1472, 2), (8952, 1), (8972, 2), (16_356, 2), (TOP, 0)]
)
def test_common_paths_cost_little(carries: int, lost_sizes: int) -> None:
    """RFC 8899 §5.3.2: a table of common sizes; one size that fails above, one just above it."""
    path = Path(PathMtu(1200, TOP), carries)
    assert path.settle().size == carries
    assert path.probes_lost == lost_sizes * MAX_PROBES


@pytest.mark.parametrize("carries", [1200, 1428, 1452, 1472, 2016, 8972, 30_000, TOP])
def test_a_local_refusal_costs_no_segment(carries: int) -> None:
    """RFC 8899 §3, item 5: EMSGSIZE tells the local MTU; no datagram left, so it is certain."""
    path = Path(PathMtu(1200, TOP), TOP, interface=carries)
    mtu = path.settle()
    assert 0 <= carries - mtu.size < useful_gain(mtu.size)
    assert path.probes_lost == 0
    assert path.refused <= 8
    assert all(size <= carries for size in path.probes)


@pytest.mark.parametrize("carries", [1200, 1428, 1452, 1472, 2016, 4442, 8972, 30_000, TOP])
@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_random_loss_does_not_end_the_search_early(carries: int, loss: float) -> None:
    """RFC 8899 §3, item 4: robust where probes are lost for other reasons than their size.

    Each seed is a path of its own. What passes is found in nearly all of them at once; where
    three probes in a row had bad luck, it is found when PMTU_RAISE_TIMER expires.
    """
    missed = again = 0
    for seed in range(100):
        path = Path(PathMtu(1200, TOP), carries, loss=loss, seed=seed)
        mtu = path.settle()
        assert mtu.size <= carries, f"seed {seed}"
        assert len(path.probes) <= 60, f"seed {seed}"
        if carries - mtu.size >= useful_gain(mtu.size):
            missed += 1
            path.now_s += RAISE_S
            path.step()
            path.settle()
            again += carries - mtu.size >= useful_gain(mtu.size)
    assert missed <= (4 if loss == 0.1 else 40), f"of 100 seeds at {loss}"
    assert again <= (0 if loss == 0.1 else 12), f"of 100 seeds at {loss}"


# -- probes: one at a time, and only while it makes sense -----------------------------------------


def test_one_probe_is_outstanding_at_most() -> None:
    """RFC 8899 §3, item 7: at least a round trip between two probes."""
    mtu = confirmed()
    assert probe(mtu) == 1452
    assert mtu.next_s == math.inf
    assert mtu.probe_size(1e6) is None
    mtu.on_acked(1200)
    assert mtu.probe_size(1e6) is None
    mtu.on_probe_sent(1472, 1.0)
    assert mtu.probe == 1452, "a second one is none"


@pytest.mark.parametrize("size", [0, 1199, 1200, 1473])
def test_what_can_be_no_probe_is_none(size: int) -> None:
    """A probe is larger than PLPMTU and at most MAX_PLPMTU (RFC 8899 §3, item 1; §5.3.1)."""
    mtu = confirmed()
    mtu.on_probe_sent(size, 0.0)
    assert mtu.probe is None
    assert not mtu.on_probe_acked(0.1)
    assert mtu.size == 1200


def test_reports_about_no_probe_change_nothing() -> None:
    """RFC 8899 §3: robust to delay and duplication of the feedback."""
    mtu = confirmed()
    probe(mtu)
    mtu.on_probe_acked(0.1)
    assert not mtu.on_probe_acked(0.2)
    for _ in range(10):
        mtu.on_probe_lost(0.3)
    assert (mtu.size, mtu.probe_size(0.4)) == (1452, 1472)


def test_a_probe_of_another_size_is_taken_as_it_is() -> None:
    """RFC 8899 §5.3.1: what is acknowledged is what passes, whatever was asked for."""
    mtu = confirmed()
    mtu.on_probe_sent(1300, 0.0)
    assert mtu.on_probe_acked(0.1)
    assert mtu.size == 1300


def test_a_size_that_had_failed_and_passes_after_all() -> None:
    """RFC 8899 §5.3.3: contradicting evidence; the acknowledgement is the stronger one."""
    mtu = confirmed(ceiling=TOP)
    lose(mtu)
    mtu.on_probe_sent(1460, 0.0)
    assert mtu.on_probe_acked(0.1)
    assert mtu.probe_size(0.1) == 1472


def test_no_probe_while_a_timeout_is_unanswered() -> None:
    """RFC 8899 §3, item 7 (and RFC 4821 §7.4): not while it is unclear whether anything passes."""
    mtu = confirmed()
    assert not mtu.on_timeout(1.0)
    assert mtu.next_s == math.inf
    assert mtu.probe_size(2.0) is None
    mtu.on_acked(1200)
    assert mtu.probe_size(2.0) == 1452


def test_the_raise_timer_survives_a_timeout() -> None:
    """RFC 8899 §5.1.1: one timeout in SEARCH_COMPLETE neither stops the timer nor expires it."""
    mtu = complete()
    due_s = mtu.next_s
    assert RAISE_S < due_s < RAISE_S + 10
    mtu.on_timeout(20.0)
    assert mtu.next_s == math.inf
    mtu.on_acked(1472)
    assert mtu.next_s == due_s


# -- black holes ---------------------------------------------------------------------------------


def test_black_hole_by_timeouts() -> None:
    """RFC 8899 §4.3, third indicator; §5.2: SEARCH_COMPLETE to BASE, PLPMTU is BASE_PLPMTU."""
    mtu = complete()
    for count in range(1, BLACK_HOLE_TIMEOUTS):
        assert not mtu.on_timeout(float(count))
        assert mtu.size == 1472
    assert mtu.on_timeout(9.0)
    assert (mtu.size, mtu.state) == (1200, MtuState.BASE)
    assert mtu.probe_size(9.0) is None, "the base has to be confirmed first"


def test_black_hole_while_searching() -> None:
    """RFC 8899 §5.2: SEARCHING to BASE; the probe that was outstanding is forgotten."""
    mtu = confirmed(ceiling=TOP)
    probe(mtu)
    mtu.on_probe_acked(0.0)
    probe(mtu)
    fell = [mtu.on_timeout(1.0) for _ in range(BLACK_HOLE_TIMEOUTS)]
    assert fell[-1]
    assert (mtu.size, mtu.state, mtu.probe) == (1200, MtuState.BASE, None)
    assert not mtu.on_probe_acked(2.0), "its acknowledgement proves nothing any more"
    assert mtu.size == 1200


@pytest.mark.parametrize("doubt", ["on_timeout", "on_loss_suspicion"])
def test_a_full_segment_that_arrives_clears_the_suspicion(doubt: str) -> None:
    """Counter-example to §4.3: loss with acknowledgements in between is loss, not a black hole."""
    mtu = complete()
    for second in range(100):
        assert not getattr(mtu, doubt)(float(second))
        mtu.on_acked(1472)
    assert mtu.size == 1472


def test_a_small_segment_that_arrives_does_not() -> None:
    """RFC 8899 §4.3: "excessive loss of data sent with a specific packet size"."""
    mtu = complete()
    fell = []
    for second in range(BLACK_HOLE_TIMEOUTS):
        fell.append(mtu.on_timeout(float(second)))
        mtu.on_acked(1471)
    assert fell[-1]


def test_black_hole_without_timeouts() -> None:
    """RFC 8899 §4.3: small segments arrive, full ones never do, so that no timer expires."""
    mtu = complete()
    assert [mtu.on_loss_suspicion(1.0) for _ in range(MAX_PROBES)] == [False, False, True]
    assert (mtu.size, mtu.state) == (1200, MtuState.BASE)


def test_an_acknowledged_probe_clears_the_suspicion_too() -> None:
    """What passes at a larger size passes at this one."""
    mtu = confirmed()
    mtu.on_loss_suspicion(0.0)
    mtu.on_loss_suspicion(0.0)
    probe(mtu)
    mtu.on_probe_acked(0.1)
    assert not mtu.on_loss_suspicion(0.2)


def test_after_an_outage_one_probe_restores_the_size() -> None:
    """A dead link looks like a black hole; the former size is the first to be probed again."""
    path = Path(PathMtu(1200, TOP), 8972)
    path.settle()
    path.carries = 0
    for _ in range(20):
        path.step()
    assert (path.mtu.size, path.mtu.state) == (MIN_PLPMTU, MtuState.ERROR)
    path.carries = 8972
    before = len(path.probes)
    assert path.settle().size == 8972
    assert path.probes[before:] == [1200, 8972]


@pytest.mark.parametrize("carries", [1200, 1300, 1428, 1452, 1471])
def test_a_smaller_mtu_in_mid_connection(carries: int) -> None:
    """RFC 8899 §4.3: falls to the base, and finds the new size from there."""
    path = Path(PathMtu(1200, TOP), 1472)
    path.settle()
    path.carries = carries
    path.step()
    assert path.settle().size <= carries
    assert carries - path.mtu.size < useful_gain(carries)
    assert path.timeouts == BLACK_HOLE_TIMEOUTS


def test_an_inconsistent_path_keeps_the_smaller_size() -> None:
    """RFC 8899 §5.3.3: a size that turns black again soon is not raised to again at once."""
    mtu = complete(ceiling=1472)
    for now_s in (10.0, 20.0):
        for _ in range(BLACK_HOLE_TIMEOUTS):
            mtu.on_timeout(now_s)
        assert mtu.size == 1200
        mtu.on_acked(1200)
        if now_s == 10.0:
            assert probe(mtu, now_s) == 1472
            assert mtu.on_probe_acked(now_s)
    path = Path(mtu, 1472)
    path.now_s = 21.0
    assert path.settle().size < 1472
    assert max(path.probes) < 1472
    assert mtu.next_s > 21.0 + RAISE_S - 1


def test_a_size_that_held_for_long_is_not_inconsistent() -> None:
    """Counter-example: two outages far apart."""
    mtu = complete(ceiling=1472)
    for now_s in (10.0, 10.0 + HOLD_S):
        for _ in range(BLACK_HOLE_TIMEOUTS):
            mtu.on_timeout(now_s)
        mtu.on_acked(1200)
        assert probe(mtu, now_s) == 1472
        assert mtu.on_probe_acked(now_s)


# -- below the base ------------------------------------------------------------------------------


def test_a_path_that_does_not_carry_the_base() -> None:
    """RFC 8899 §5.2: BASE to ERROR after MAX_PROBES; a smaller size goes on working (§5.4)."""
    mtu = PathMtu(1200, TOP)
    assert [mtu.on_timeout(1.0) for _ in range(MAX_PROBES)] == [False, False, True]
    assert (mtu.size, mtu.state) == (MIN_PLPMTU, MtuState.ERROR)
    assert mtu.probe_size(1.0) is None
    mtu.on_acked(MIN_PLPMTU)
    assert mtu.state is MtuState.ERROR
    assert probe(mtu) == 1200, "ERROR is left by a probe of the base"
    assert mtu.on_probe_acked(2.0)
    assert (mtu.size, mtu.state) == (1200, MtuState.SEARCHING)


@pytest.mark.parametrize("carries", [548, 600, 1000, 1180, 1199])
def test_the_best_below_the_base_is_found_and_the_base_tried_again(carries: int) -> None:
    """RFC 8899 §5.2, §5.4: ERROR lasts as long as probes of the base are lost."""
    path = Path(PathMtu(1200, TOP), carries)
    for _ in range(60):
        path.step()
    mtu = path.mtu
    assert mtu.state is MtuState.ERROR
    assert 0 <= carries - mtu.size < useful_gain(mtu.size)
    assert mtu.next_s > RAISE_S
    probes = len(path.probes)
    path.carries = 1472
    path.now_s = mtu.next_s
    assert path.settle().size == 1472
    assert path.probes[probes] == 1200


def test_nothing_below_the_floor() -> None:
    """RFC 8899 §5.1.2: MIN_PLPMTU is the smallest size that is tried."""
    mtu = PathMtu(1200, TOP)
    fell = [mtu.on_timeout(float(second)) for second in range(100)]
    assert fell.count(True) == 1
    assert mtu.size == MIN_PLPMTU


def test_a_base_below_the_floor_is_the_floor() -> None:
    mtu = PathMtu(128, 128)
    assert not any(mtu.on_timeout(1.0) for _ in range(10))
    assert not mtu.on_too_big(128, 1.0)
    assert (mtu.size, mtu.state) == (128, MtuState.BASE)


# -- refusals ------------------------------------------------------------------------------------


def test_a_refused_probe_fails_at_once() -> None:
    """RFC 8899 §4.6.2, PLPMTU < PL_PTB_SIZE < PROBED_SIZE: PLPMTU stays, the search goes on."""
    mtu = confirmed(ceiling=TOP)
    assert probe(mtu) == 1452
    assert not mtu.on_too_big(1452, 0.0)
    assert (mtu.size, mtu.probe, mtu.state) == (1200, None, MtuState.SEARCHING)
    assert mtu.probe_size(0.0) == (1200 + 1452) // 2


def test_a_refusal_of_more_than_the_probe_leaves_it_out() -> None:
    """RFC 8899 §4.6.2, PL_PTB_SIZE >= PROBED_SIZE: the probe may still arrive."""
    mtu = confirmed(ceiling=TOP)
    assert probe(mtu) == 1452
    assert not mtu.on_too_big(1473, 0.0)
    assert mtu.probe == 1452
    assert mtu.on_probe_acked(0.1)
    assert mtu.probe_size(0.1) is None, "1,472 would gain too little above what is refused"


def test_a_refusal_of_the_size_in_use_falls_to_the_base() -> None:
    """RFC 8899 §4.6.2, BASE_PLPMTU <= PL_PTB_SIZE < PLPMTU: BASE, and a search below the limit."""
    path = Path(PathMtu(1200, TOP), 8972)
    mtu = path.settle()
    assert mtu.on_too_big(1429, path.now_s)
    assert (mtu.size, mtu.state) == (1200, MtuState.BASE)
    path.carries = 1428
    before = len(path.probes)
    path.settle()
    assert 1412 < mtu.size <= 1428
    assert max(path.probes[before:]) < 1429


def test_a_refusal_of_the_base_falls_to_the_floor() -> None:
    """RFC 8899 §4.6.2, MIN_PLPMTU < PL_PTB_SIZE < BASE_PLPMTU: ERROR, without three timeouts."""
    mtu = PathMtu(1200, TOP)
    assert mtu.on_too_big(1000, 0.0)
    assert (mtu.size, mtu.state) == (MIN_PLPMTU, MtuState.ERROR)
    mtu.on_acked(MIN_PLPMTU)
    assert mtu.probe_size(0.0) == (MIN_PLPMTU + 1000) // 2, "the base is known not to pass"


@pytest.mark.parametrize("size", [-1, 0, 68, MIN_PLPMTU])
def test_a_refusal_below_the_floor_is_not_believed(size: int) -> None:
    """RFC 8899 §4.6.2, PL_PTB_SIZE < MIN_PLPMTU: discarded; a forged one does no harm."""
    mtu = complete()
    assert not mtu.on_too_big(size, 1.0)
    assert (mtu.size, mtu.state) == (1472, MtuState.SEARCH_COMPLETE)


def test_a_refusal_never_raises_the_size() -> None:
    """RFC 8899 §3, item 6: "MUST NOT be used to increase the PLPMTU"."""
    mtu = confirmed(ceiling=TOP)
    for size in (1472, 9000, TOP):
        assert not mtu.on_too_big(size, 0.0)
        assert mtu.size == 1200


# -- another path --------------------------------------------------------------------------------


def test_another_path_starts_at_the_base() -> None:
    """RFC 8899 §5.2, Start: nothing that was known of the old path counts."""
    mtu = complete()
    assert mtu.on_path_changed(5.0)
    assert (mtu.size, mtu.state, mtu.next_s) == (1200, MtuState.BASE, math.inf)
    assert Path(mtu, 8972).settle().size == 8972
    assert mtu.on_path_changed(6.0)
    mtu.on_acked(1200)
    probe(mtu)
    assert not mtu.on_path_changed(7.0), "the size is the base already"
    assert not mtu.on_probe_acked(7.1), "a probe of the old path"


# -- any order of events --------------------------------------------------------------------------

SIZES = st.sampled_from([0, 68, 547, 548, 549, 1000, 1199, 1200, 1201, 1452, 1472, 8972, TOP])


class AnyOrder(RuleBasedStateMachine):
    """Nothing raises, whatever is reported when; and sizes, states and rates keep their bounds."""

    @initialize(
        base=st.sampled_from([1, 128, 548, 1200, 1472, 9000]),
        ceiling=st.sampled_from([1, 500, 1200, 1211, 1472, 2000, 9000, TOP]),
        enabled=st.booleans(),
    )
    def begin(self, base: int, ceiling: int, enabled: bool) -> None:
        self.mtu = PathMtu(base, ceiling, enabled=enabled)
        self.base, self.ceiling, self.enabled = min(base, ceiling), ceiling, enabled
        self.now_s = 0.0
        self.size = self.mtu.size
        self.probes = 0

    def news(self) -> None:
        """Something that may start a search anew."""
        self.probes = 0

    @rule(seconds=st.sampled_from([0.0, 0.01, 1.0, 30.0, 599.0, 600.0, 1e6]))
    def later(self, seconds: float) -> None:
        self.now_s += seconds
        if seconds > 1.0:
            self.news()

    @rule()
    def probe_if_due(self) -> None:
        size = self.mtu.probe_size(self.now_s)
        if size is None:
            return
        assert self.enabled
        assert self.now_s >= self.mtu.next_s
        assert self.mtu.probe is None
        assert self.mtu.size < size <= self.ceiling
        self.mtu.on_probe_sent(size, self.now_s)
        self.probes += 1

    @rule(size=SIZES)
    def probe_unasked(self, size: int) -> None:
        self.mtu.on_probe_sent(size, self.now_s)

    @rule()
    def probe_acked(self) -> None:
        probed = self.mtu.probe
        grew = self.mtu.on_probe_acked(self.now_s)
        assert grew == (probed is not None) == (self.mtu.size > self.size)
        if grew:
            assert self.mtu.size == probed

    @rule()
    def probe_lost(self) -> None:
        self.mtu.on_probe_lost(self.now_s)
        assert self.mtu.size == self.size

    @rule(times=st.integers(1, 60))
    def every_probe_lost(self, times: int) -> None:
        for _ in range(times):
            self.mtu.on_acked(self.mtu.size)
            self.probe_if_due()
            self.probe_lost()

    @rule(size=SIZES)
    def too_big(self, size: int) -> None:
        fell = self.mtu.on_too_big(size, self.now_s)
        assert fell == (self.mtu.size < self.size)
        assert not fell or self.mtu.size < size

    @rule(size=SIZES)
    def acked(self, size: int) -> None:
        self.mtu.on_acked(size)
        assert self.mtu.size == self.size

    @rule()
    def full_acked(self) -> None:
        self.mtu.on_acked(self.mtu.size)

    @rule(which=st.sampled_from(["on_timeout", "on_loss_suspicion"]), times=st.integers(1, 4))
    def doubts(self, which: str, times: int) -> None:
        for _ in range(times):
            fell = getattr(self.mtu, which)(self.now_s)
            assert fell == (self.mtu.size < self.size)
            self.size = self.mtu.size
        self.news()

    @rule()
    def path_changed(self) -> None:
        assert self.mtu.on_path_changed(self.now_s) == (self.mtu.size != self.size)
        assert self.mtu.size == self.base
        self.news()

    @invariant()
    def bounded(self) -> None:
        mtu = self.mtu
        assert min(self.base, MIN_PLPMTU) <= mtu.size <= self.ceiling
        if mtu.size > self.size:
            self.news()
        self.size = mtu.size
        assert (mtu.state is MtuState.DISABLED) == (not self.enabled)
        if self.enabled:
            assert (mtu.state is MtuState.ERROR) == (mtu.size < self.base)
            assert mtu.state is not MtuState.BASE or mtu.size == self.base
        assert not math.isnan(mtu.next_s)
        if mtu.probe is not None:
            assert mtu.size < mtu.probe <= self.ceiling
            assert mtu.next_s == math.inf

    @invariant()
    def no_endless_probing(self) -> None:
        """RFC 8899 §5.3: a search that finds nothing ends, and stays ended till the timer."""
        assert self.probes <= 16 * MAX_PROBES


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(deadline=None, max_examples=150, stateful_step_count=60)
