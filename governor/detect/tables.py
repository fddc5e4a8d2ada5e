"""A table of signals, what is remembered of it, and how that memory follows rows that come and go."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from governor import rows
from governor.detect import conformal, episodes, expected, level, season
from governor.rows import Positions

State = TypeVar("State", level.LevelState, conformal.Calibration, episodes.Episodes, season.SeasonState)
RELATION = "relation"
"""Name of the series that says how far a row's signals are from each other's usual relation."""


@dataclass(frozen=True, eq=False)
class Table:
    """Signals of one kind of thing in one window."""

    name: str
    rows: tuple[str, ...]
    """(R,) services, edges; each once."""
    signals: tuple[str, ...]
    """(M,)."""
    values: NDArray[np.float32]
    """(M, R); NaN where not measured."""
    relations: expected.Options | None = None
    """How the signals of a row explain each other; None: not looked at."""
    seasonal: bool = False
    """Whether its signals are compared with what is usual at the hour, too: see `season`."""

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.signals), len(self.rows)):
            raise ValueError(
                f"table {self.name}: values have shape {self.values.shape}, "
                f"but there are {len(self.signals)} signals of {len(self.rows)} rows"
            )


@dataclass(frozen=True, eq=False)
class TableState:
    """What is remembered of one table; series in the order of the table's values, row after row of the array."""

    rows: tuple[str, ...]
    signals: tuple[str, ...]
    relations: expected.Options | None
    level: level.LevelState
    calibration: conformal.Calibration
    held: NDArray[np.float64]
    """(N,) loudness that is still held against each series: see `refractory`."""
    episodes: episodes.Episodes
    expected: expected.ExpectedState | None
    season: season.SeasonState | None
    """Of the signals only."""

    @classmethod
    def empty(cls, table: Table) -> TableState:
        """Nothing seen yet."""
        names = len(series_names(table))
        series = names * len(table.rows)
        regression = None
        if table.relations is not None:
            regression = expected.ExpectedState.empty(len(table.rows), len(table.signals), table.relations)
        return cls(
            table.rows,
            table.signals,
            table.relations,
            level.LevelState.empty(series),
            conformal.Calibration.empty(len(level.VIEWS), series, names),
            np.zeros(series),
            episodes.Episodes.none(series),
            regression,
            season.SeasonState.empty(table.values.size, len(table.signals)) if table.seasonal else None,
        )

    @property
    def views(self) -> tuple[str, ...]:
        """Names of what is compared of each series."""
        return level.VIEWS if self.season is None else (*level.VIEWS, *season.VIEWS)


def series_names(table: Table | TableState) -> tuple[str, ...]:
    """What each row of a table has a series of: its signals, and their relation where that is looked at."""
    return (*table.signals, *((RELATION,) if table.relations is not None else ()))


def carried(state: TableState | None, table: Table) -> TableState:
    """`state` for the rows of `table`: known rows keep their memory, new ones have none.

    A fresh state if there is none, or if the table has other signals or relations than before, or is seasonal and
    was not. ValueError if a row is there twice: whose memory it has could not be said.
    """
    same = state is not None and (state.signals, state.relations, state.season is not None) == (
        table.signals,
        table.relations,
        table.seasonal,
    )
    if state is not None and same and (state.rows is table.rows or state.rows == table.rows):
        return state
    _each_once(table)
    if state is None or not same:
        return TableState.empty(table)
    source = rows.sources(state.rows, table.rows)
    fresh = TableState.empty(table)
    start = np.arange(len(series_names(table)))[:, None] * len(state.rows)
    series = np.where(source >= 0, start + source, -1).ravel()
    return TableState(
        table.rows,
        table.signals,
        table.relations,
        _moved(state.level, fresh.level, series),
        _moved(state.calibration, fresh.calibration, series),
        rows.carried(state.held, fresh.held, series, -1),
        _moved(state.episodes, fresh.episodes, series),
        _regressions(state.expected, fresh.expected, source),
        None
        if state.season is None or fresh.season is None
        else _moved(state.season, fresh.season, series[: table.values.size]),
    )


def _each_once(table: Table) -> None:
    if len(set(table.rows)) < len(table.rows):
        twice = next(row for row, count in Counter(table.rows).items() if count > 1)
        raise ValueError(f"table {table.name}: row {twice} is there more than once; add its series up before")


def _moved(old: State, new: State, source: Positions) -> State:
    """Every array of a state whose last axis is the series; what a group lent stays as it is."""

    def part(name: str) -> Any:
        before, fresh = getattr(old, name), getattr(new, name)
        if name == "ladder":
            return before
        return (
            rows.carried(before, fresh, source, -1)
            if isinstance(before, np.ndarray)
            else _moved(before, fresh, source)
        )

    return type(new)(*(part(f.name) for f in fields(new)))


def _regressions(
    old: expected.ExpectedState | None, new: expected.ExpectedState | None, source: Positions
) -> expected.ExpectedState | None:
    if old is None or new is None:
        return None
    arrays = {
        f.name: rows.carried(
            getattr(old, f.name), getattr(new, f.name), source, axis=1 if f.name == "past" else 0
        )
        for f in fields(new)
        if f.name != "step"
    }
    return expected.ExpectedState(step=old.step, **arrays)
