"""Figures as tables for people."""

from collections.abc import Sequence

from rich.table import Table

from tests.benchmarks.figures import Latency, ratio


def latency_table(figures: Sequence[Latency]) -> Table:
    """A row per rate and system, with its ratios to the floor at the same rate."""
    floors = {one.rate: one for one in figures if one.system == "floor"}
    table = Table(title="Latency, intended sending to arrival, ms (medians of the repeats)")
    for column in ("events/s", "system"):
        table.add_column(column, justify="right" if column == "events/s" else "left")
    for column in ("p50", "p95", "p99", "max", "× p50", "× p99", "out/s", "cores", "broker"):
        table.add_column(column, justify="right")
    table.add_column("note")
    rate = None
    for one in figures:
        if rate not in (None, one.rate):
            table.add_section()
        rate = one.rate
        floor = floors.get(one.rate)
        table.add_row(
            f"{one.rate:,}",
            one.system,
            *(f"{value:.1f}" for value in (one.p50, one.p95, one.p99, one.max)),
            _times(ratio(one.p50, floor.p50 if floor else None)),
            _times(ratio(one.p99, floor.p99 if floor else None)),
            f"{one.out_per_s:,.0f}",
            f"{one.cores:.2f}",
            f"{one.cpu['broker']:.2f}",
            _note(one),
        )
    return table


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _note(one: Latency) -> str:
    notes = []
    if not one.sustained:
        notes.append("not sustained")
    if one.missing:
        notes.append(f"{one.missing:,} missing")
    return ", ".join(notes)
