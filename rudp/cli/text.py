"""Numbers as people read them."""

from __future__ import annotations

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def describe_size(size_bytes: float) -> str:
    """Bytes in the unit that fits: "0 B", "1.5 KiB", "23.4 MiB"."""
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    for unit in _SIZES:
        if size_bytes < 1024 or unit == _SIZES[-1]:
            break
        size_bytes /= 1024
    return f"{size_bytes:.1f} {unit}"


def describe_rate(bytes_per_s: float) -> str:
    """A rate in bits, as links are sold: "930 kbit/s", "92.5 Mbit/s"."""
    bits = bytes_per_s * 8
    for unit, size in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bits >= size:
            return f"{bits / size:.1f} {unit}"
    return f"{bits:.0f} bit/s"


def describe_time(seconds: float | None) -> str:
    """A time in the unit that fits: "85 µs", "40.2 ms", "1.5 s"; "unknown" for None."""
    if seconds is None:
        return "unknown"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.1f} s"
