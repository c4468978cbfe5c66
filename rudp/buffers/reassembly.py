"""Data received out of order, bounded in bytes, in holes and in overhead (RFC 9293 §3.10.7.4)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from rudp.buffers.chunks import ChunkRun

_RECENT = 64


class Reassembly:
    """Received bytes beyond the next expected one, as disjoint runs at stream offsets.

    Of bytes that arrive twice the first copy stays. How many bytes may lie here is the
    caller's receive window; how many runs, and with them holes, is bounded here.

    Args:
        max_runs: Most runs kept; data that would open another is refused.
    """

    __slots__ = ("_max_runs", "_recent", "_runs", "_starts", "size")

    def __init__(self, max_runs: int) -> None:
        self._max_runs = max_runs
        self._starts: list[int] = []
        self._runs: list[ChunkRun] = []
        self.size = 0
        self._recent: list[int] = []
        """An offset within each run, the run that was touched last first."""

    def __len__(self) -> int:
        return len(self._starts)

    def insert(self, offset: int, data: bytes) -> bool:
        """Keep `data` at `offset`; what is there already is not replaced.

        Returns False if it had to be dropped because it would open one hole too many.
        """
        end = offset + len(data)
        full = True
        at = offset
        while at < end:
            index = bisect_right(self._starts, at) - 1
            if index >= 0 and self._end(index) > at:
                at = self._end(index)
                continue
            stop = end
            if index + 1 < len(self._starts):
                stop = min(stop, self._starts[index + 1])
            full &= self._insert_gap(index, at, data[at - offset : stop - offset])
            at = stop
        return full

    def covers(self, start: int, end: int) -> bool:
        """Whether all of [start, end) is held."""
        block = self._run_at(start)
        return block is not None and end <= block[1]

    def first(self) -> int | None:
        """Where the lowest run starts; None if there is none."""
        return self._starts[0] if self._starts else None

    def end(self) -> int:
        """Where the highest run ends; 0 if there is none."""
        return self._end(len(self._starts) - 1) if self._starts else 0

    def pop(self, offset: int) -> ChunkRun | None:
        """Remove the run that starts at `offset`, now that everything before it is here."""
        if not self._starts or self._starts[0] != offset:
            return None
        del self._starts[0]
        run = self._runs.pop(0)
        self.size -= run.size
        return run

    def ranges(self, most: int) -> list[tuple[int, int]]:
        """At most `most` runs as (start, end), the last touched first (RFC 2018 §4)."""
        found: list[tuple[int, int]] = []
        valid: list[int] = []
        for offset in self._recent:
            block = self._run_at(offset)
            if block is not None:
                valid.append(offset)
                if len(found) < most and block not in found:
                    found.append(block)
        self._recent = valid
        return found

    def touch(self, offset: int) -> None:
        """Note that data at `offset` has just arrived."""
        block = self._run_at(offset)
        if block is not None:
            start, end = block
            others = [other for other in self._recent if not start <= other < end]
            self._recent = [offset, *others[: _RECENT - 1]]

    def clear(self) -> None:
        """Drop everything."""
        self._starts.clear()
        self._runs.clear()
        self._recent.clear()
        self.size = 0

    def overhead(self) -> int:
        """How many chunks are held in all."""
        return sum(run.overhead() for run in self._runs)

    def _run_at(self, offset: int) -> tuple[int, int] | None:
        index = bisect_right(self._starts, offset) - 1
        if index < 0 or offset >= self._end(index):
            return None
        return self._starts[index], self._end(index)

    def _end(self, index: int) -> int:
        return self._starts[index] + self._runs[index].size

    def _insert_gap(self, left: int, start: int, data: bytes) -> bool:
        """Put `data` into the gap behind run `left`; it overlaps nothing."""
        end = start + len(data)
        joins_left = left >= 0 and self._end(left) == start
        joins_right = left + 1 < len(self._starts) and self._starts[left + 1] == end
        if joins_left:
            run = self._runs[left]
            run.append(data)
        elif not joins_right and len(self._starts) >= self._max_runs:
            return False
        else:
            run = ChunkRun()
            run.append(data)
        if joins_right:
            run.extend(self._runs[left + 1])
            self._runs[left + 1] = run
            self._starts[left + 1] = start
            if joins_left:
                self._starts[left + 1] = self._starts[left]
                del self._starts[left], self._runs[left]
        elif not joins_left:
            at = bisect_left(self._starts, start)
            self._starts.insert(at, start)
            self._runs.insert(at, run)
        self.size += len(data)
        return True
