"""Detection over a whole mesh: tables of signals in, believed anomalies out; one look a cycle.

A table is one kind of thing (services, edges) with its signals. Each of its series goes through `level`,
`conformal` and `refractory`; of a seasonal table's signals `season` has a say beside `level`. Where `relations`
is given, `expected` adds one more series per row, how far its signals are from what its load and past explain.
One false discovery rate holds over all tables together, then `episodes` keeps the beginnings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from governor.detect import conformal, episodes, expected, level, opinion, refractory, season
from governor.detect.discoveries import believed
from governor.detect.tables import Table, TableState, carried, series_names
from governor.evidence import AbnormalSeries, Anomalies

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """How readily something is called abnormal."""

    false_discovery_rate: float = 0.05
    """Share of the anomalies of a look that are false, on average."""
    accept_s: float = 3600.0
    """Seconds after which a change that stays is the new normal."""
    young: int = conformal.YOUNG
    """Values of a series before which nothing of it is called abnormal."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one look found."""

    p: dict[str, Array]
    """Per table: (M, R), with a last row for `relation` where it is looked at, of damped p-values; 1 where
    nothing is unusual or nothing was measured."""
    anomalies: Anomalies
    """Open ones, rarest first."""


@dataclass(frozen=True, eq=False)
class DetectState:
    """What is remembered of the mesh, by table."""

    tables: dict[str, TableState] = field(default_factory=dict)
    at: float = -math.inf
    """Time of the last look."""
    evidence: Evidence = field(default_factory=lambda: Evidence({}, Anomalies()))
    """What the last look found."""


@dataclass(frozen=True, eq=False)
class _Look:
    state: TableState
    levels: level.Levels
    raw_p: Array
    p: Array
    """Damped."""
    counted: NDArray[np.bool_]
    seen: NDArray[np.int32]
    """Values before this look."""


def detect(
    state: DetectState, at: float, tables: tuple[Table, ...], options: Options
) -> tuple[DetectState, Evidence]:
    """One look at `at` (seconds since the epoch, by the source's clock).

    The same time twice is the same window: nothing is learnt from it again. A row that is new starts with no
    memory, one that left is forgotten; a table with other signals, or other relations, starts anew.

    ValueError if `at` is not a time, if two tables have the same name, or a table names a row twice.
    """
    if not math.isfinite(at):
        raise ValueError(f"the time of a look is {at}; it has to be seconds since the epoch")
    if len({table.name for table in tables}) < len(tables):
        raise ValueError(f"tables {', '.join(table.name for table in tables)}: each needs a name of its own")
    if at == state.at:
        return state, state.evidence
    looks = {table.name: _look(state.tables.get(table.name), table, at, options.young) for table in tables}
    after, abnormal = dict(state.tables), list[AbnormalSeries]()
    for name, found in _believed(looks, options.false_discovery_rate).items():
        look = looks[name]
        after[name], opened = _settle(look, found, at, options.accept_s)
        abnormal.append(_abnormal(name, after[name], look.levels, opened))
    shaped = {
        name: look.p.reshape(len(series_names(look.state)), len(look.state.rows)) for name, look in looks.items()
    }
    evidence = Evidence(shaped, Anomalies(abnormal))
    return DetectState(after, at, evidence), evidence


def _look(before: TableState | None, table: Table, at: float, young: int) -> _Look:
    state = carried(before, table)
    values, regression = table.values, state.expected
    if regression is not None and table.relations is not None:
        regression, residual = expected.update(regression, values.T.astype(np.float64), table.relations)
        warm = np.isfinite(residual).any(axis=1)
        # In logarithms: the deviation is a square, and its range would otherwise be that of its one worst moment.
        relation = np.where(warm, np.log1p(regression.deviation), np.nan)
        values = np.concatenate([values, relation[None].astype(np.float32)])
    group = np.repeat(np.arange(len(values)), len(table.rows))
    seen = state.level.seen
    signals = len(table.signals) * len(table.rows)
    levels_after, levels = level.update(state.level, values.ravel())
    levels = _rises(levels, signals)
    counted = levels.measured & (seen >= young)
    calibration, p = conformal.update(state.calibration, levels.exceedance, counted, group, level.FAMILIES)
    usual = state.season
    if usual is not None:
        # The relation, which comes last, already knows the load of the hour.
        usual, heard, rare = season.update(usual, at, table.values.ravel(), group[:signals], young)
        levels = level.joined(levels, heard)
        p[:signals] = opinion.weighed((p[:signals], rare), season.SHARES)
    after = replace(state, level=levels_after, calibration=calibration, expected=regression, season=usual)
    return _Look(after, levels, p, refractory.damp(state.held, p), counted, seen)


def _rises(levels: level.Levels, first: int) -> level.Levels:
    """Of the series from `first` on, those of relations, only what is above.

    Nothing is wrong with signals that are closer to what was expected than ever, as they are after a refit.
    """
    if first == len(levels.measured):
        return levels
    exceedance = levels.exceedance.copy()
    exceedance[:, first:][levels.view[:, first:] < levels.low[:, first:]] = 0
    return replace(levels, exceedance=exceedance)


def _believed(looks: dict[str, _Look], rate: float) -> dict[str, NDArray[np.bool_]]:
    """Per table the findings to believe, at one false discovery rate over all tables."""
    if not looks:
        return {}
    # What was not measured, or is too young to be judged, is no test: it makes the rest no harder to believe.
    p = np.concatenate([np.where(look.counted, look.p, np.nan) for look in looks.values()])
    ends = np.cumsum([len(look.p) for look in looks.values()])
    return dict(zip(looks, np.split(believed(p, rate), ends[:-1]), strict=True))


def _settle(
    look: _Look, found: NDArray[np.bool_], at: float, accept_s: float
) -> tuple[TableState, episodes.Episodes]:
    """The table's memory after the look; a change that was accepted starts the series anew."""
    kept, accepted = episodes.update(look.state.episodes, look.levels, found, look.p, at, accept_s)
    held = refractory.hold(look.state.held, look.raw_p, found, look.seen)
    state = replace(look.state, episodes=kept, held=held)
    if len(accepted):
        signals = len(state.signals) * len(state.rows)
        state = replace(
            state,
            level=level.restart(state.level, accepted),
            calibration=conformal.restart(state.calibration, accepted),
            season=None if state.season is None else season.restart(state.season, accepted[accepted < signals]),
        )
    return state, kept


def _abnormal(name: str, state: TableState, levels: level.Levels, kept: episodes.Episodes) -> AbnormalSeries:
    series = np.flatnonzero(kept.open)
    view = kept.view[series].astype(np.intp)
    value = np.where(levels.measured[series], levels.view[view, series], np.nan)
    return AbnormalSeries(
        table=name,
        rows=state.rows,
        signals=series_names(state),
        views=state.views,
        row=series % max(len(state.rows), 1),
        signal=series // max(len(state.rows), 1),
        view=view,
        value=value.astype(np.float64),
        bound=kept.bound[series],
        since=kept.since[series],
        p=kept.p[series],
    )
