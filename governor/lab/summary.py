"""A table of what clients saw, for the terminal."""

from __future__ import annotations

from governor.lab.results import LoadResult, Outcome

_HEAD = ("API", "offered/s", "goodput/s", "in SLO %", "success %", "p50 ms", "p99 ms", "429", "503")


def summary_table(result: LoadResult, start_s: float = 0.0) -> str:
    """One line per API class from `start_s` on; p99 counts a failure as the SLO's timeout."""
    end_s = max(result.duration_s, start_s + 1e-9)
    if len(result.intended):
        end_s = min(end_s, float(result.intended.max()) + 1e-9)
    if end_s <= start_s:
        return "no requests were sent"
    rows = [_HEAD]
    for name in (*result.class_names, None):
        chosen = result.intended >= start_s
        if name is not None:
            chosen &= result.klass == result.class_names.index(name)
        rows.append(
            (
                name or "all",
                f"{chosen.sum() / (end_s - start_s):.1f}",
                f"{result.goodput(start_s, end_s, name):.1f}",
                f"{100 * result.success(start_s, end_s, name, in_slo=True):.2f}",
                f"{100 * result.success(start_s, end_s, name):.2f}",
                f"{1000 * result.latency_quantile(0.5, start_s, end_s, api=name):.0f}",
                f"{1000 * result.latency_quantile(0.99, start_s, end_s, api=name):.0f}",
                str(int((chosen & (result.outcome == Outcome.REJECTED_429)).sum())),
                str(int((chosen & (result.outcome == Outcome.REJECTED_503)).sum())),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = []
    for row in rows:
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join((first, *rest)))
    return "\n".join(lines)
