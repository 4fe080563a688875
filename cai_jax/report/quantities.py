"""Numbers for people: counts, bytes and times, rounded to what can be read at a glance."""

from __future__ import annotations


def quantity(value: float) -> str:
    """950, 1.2k, 3.4M, 5.6G, 7.8T, 9.1P, 2.3E; nothing for nothing."""
    if not value:
        return ""
    for unit in ("", "k", "M", "G", "T", "P", "E"):
        if abs(value) < 999.5 or unit == "E":
            break
        value /= 1000.0
    return f"{value:.0f}{unit}" if value >= 100 or not unit else f"{value:.1f}{unit}"


def size(count: float) -> str:
    """Bytes: 12.3 MiB, and from an eighth of a GiB on 1.25 GiB."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**27 else f"{count / 2**20:.1f} MiB"


def duration(seconds: float) -> str:
    """8.2 ms, 12.3 s, 45 min, 3.4 h, 12 days: from two of a unit on in that unit."""
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:,.0f} days"
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 120:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.2g} ms"
