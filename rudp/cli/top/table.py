"""Snapshots as a table: the rates between two of them, the rest of the last one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rudp.cli.address import format_address
from rudp.cli.top.snapshots import Snapshot


@dataclass(frozen=True, slots=True)
class Row:
    """One connection; rates are bytes a second, None before there are two snapshots."""

    state: str
    peer: str
    local: str
    passive: bool
    congestion: str
    rtt_s: float | None
    cwnd: int
    in_flight: int
    sent_rate: float | None
    received_rate: float | None
    retransmitted_share: float
    limited_by: str
    age_s: float


def rows(now: Snapshot, before: Snapshot | None) -> list[Row]:
    """The connections of a snapshot, in its order. Raises `KeyError`, `TypeError` for a snapshot
    that is none."""
    earlier = {} if before is None else dict(_connections(before))
    seconds = now["time_s"] - before["time_s"] if before is not None else 0.0
    return [_row(key, conn, earlier.get(key), seconds) for key, conn in _connections(now)]


def _connections(snapshot: Snapshot) -> list[tuple[tuple[str, str], dict[str, Any]]]:
    """Each connection under its endpoint's address and its own id."""
    return [
        ((_address(endpoint["sockname"]), conn["id"]), conn)
        for endpoint in snapshot["endpoints"]
        for conn in endpoint["connections"]
    ]


def _row(
    key: tuple[str, str], conn: dict[str, Any], before: dict[str, Any] | None, seconds: float
) -> Row:
    def rate(name: str) -> float | None:
        if before is None or seconds <= 0:
            return None
        return max(0.0, float(conn[name] - before[name]) / seconds)

    sent = conn["bytes_sent"] + conn["bytes_retransmitted"]
    return Row(
        state=conn["state"],
        peer=_address(conn["peer"]),
        local=key[0],
        passive=conn["passive"],
        congestion=conn["congestion"],
        rtt_s=conn["srtt_s"],
        cwnd=conn["cwnd"],
        in_flight=conn["in_flight"],
        sent_rate=rate("bytes_acked"),
        received_rate=rate("bytes_received"),
        retransmitted_share=conn["bytes_retransmitted"] / sent if sent else 0.0,
        limited_by=_limit(conn["limited_by"], before["limited_by"] if before else {}),
        age_s=conn["age_s"],
    )


def _limit(now_s: dict[str, float], before_s: dict[str, float]) -> str:
    """What held the sender back for longest since the last snapshot."""
    spent_s = {name: value - before_s.get(name, 0.0) for name, value in now_s.items()}
    longest = max(spent_s, key=lambda name: spent_s[name], default="")
    return longest if longest and spent_s[longest] > 0 else ""


def _address(where: Any) -> str:
    return format_address(where) if where else "?"


SORTS: dict[str, Callable[[Row], Any]] = {
    "rate": lambda row: -((row.sent_rate or 0.0) + (row.received_rate or 0.0)),
    "rtt": lambda row: -(row.rtt_s or 0.0),
    "retransmits": lambda row: -row.retransmitted_share,
    "age": lambda row: -row.age_s,
    "peer": lambda row: row.peer,
}
"""By what rows can be sorted, the most interesting first."""

_COLUMNS = (
    "state", "peer", "local", "control", "RTT ms", "cwnd", "in flight",
    "sent/s", "received/s", "again", "limited by", "age",
)  # fmt: skip
_LEFT = ("state", "peer", "local", "control", "limited by")


def draw(now: Snapshot, before: Snapshot | None, *, sort: str, most: int) -> RenderableType:
    """A headline, a table of at most `most` connections, and what was left out."""
    found = sorted(rows(now, before), key=SORTS[sort])
    total = sum(endpoint["connection_count"] for endpoint in now["endpoints"])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in _LEFT else "right", no_wrap=True)
    for row in found[:most]:
        table.add_row(*_cells(row))
    parts: list[RenderableType] = [_headline(now, total), table]
    if total > min(most, len(found)):
        parts.append(Text(f"… and {total - min(most, len(found)):,} more", style="dim"))
    return Group(*parts)


def _headline(now: Snapshot, total: int) -> Text:
    endpoints = now["endpoints"]
    received = sum(one["stats"]["datagrams_received"] for one in endpoints)
    dropped = sum(sum(one["stats"]["malformed"].values()) for one in endpoints)
    return Text(
        f"{now['program']} [{now['pid']}]: {total:,} connections at {len(endpoints)} sockets, "
        f"{received:,} datagrams received, {dropped:,} malformed"
    )


def _cells(row: Row) -> tuple[Text, ...]:
    style = "yellow" if row.retransmitted_share > 0.05 else ""
    return tuple(
        Text(text, style=style)
        for text in (
            row.state.lower().replace("_", "-"),
            ("← " if row.passive else "→ ") + row.peer,
            row.local,
            row.congestion,
            "–" if row.rtt_s is None else f"{row.rtt_s * 1e3:.1f}",
            amount(row.cwnd),
            amount(row.in_flight),
            amount(row.sent_rate),
            amount(row.received_rate),
            f"{row.retransmitted_share:.1%}",
            row.limited_by,
            _age(row.age_s),
        )
    )


def amount(size: float | None) -> str:
    """Bytes in three digits and a unit; a dash for None."""
    if size is None:
        return "–"
    for unit in ("", "k", "M", "G"):
        if size < 999.5:
            return f"{size:.0f}{unit}" if size >= 100 or not unit else f"{size:.3g}{unit}"
        size /= 1000
    return f"{size:.3g}T"


def _age(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
