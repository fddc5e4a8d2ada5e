"""The load forecast against naive, seasonal naive, AutoETS on logs and LightGBM on the same features, in one run.

Every hour of the held-back time (the last quarter of each series) is an origin, every step up to an hour ahead an
outcome. Two models of ours are scored: the one that the training job makes of the first part of this very data,
and the one that ships; between the origins they learn online from outcomes that are known by then, every quarter
of an hour. LightGBM learns from the same rows, with its defaults but 200 trees, and is calibrated once (CQR) on
the same part; AutoETS gets the last 600 points. The targets stand on the last eighth.

`hindsight` says how much there is to be had: it knows the mean of the hour around each outcome, half of it after
the outcome, and how far the outcomes of its series and eighth lay from such means. No forecast knows either.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from governor.adapters.model_store import forecast_or_reason, shipped
from governor.domain import FloatArray
from governor.predict.features import HORIZONS_MIN, features
from governor.predict.forecast import forecast
from governor.predict.history import RateHistory
from governor.predict.model import QUANTILES, TrainedForecast, anchor
from governor.predict.online import begin, learn
from governor.train.calibrate import prior_of
from governor.train.job import Job, Made, make
from governor.train.score import Score, score
from governor.train.series import Split
from governor.train.sources import read_folder
from governor.train.windows import Quantiles, Windows, model_quantiles, windows_of
from tests.benchmarks.table import Row

GROUPS: Mapping[str, tuple[str, float]] = {"nab": ("tweets", 0.93), "worldcup98": ("WorldCup", 0.88)}
"""Group to what it is called and the target: our WQL over that of the better of AutoETS and LightGBM."""
OURS, SHIPPED, ETS, LIGHTGBM, HINDSIGHT = (
    "ours, trained here",
    "ours, as shipped",
    "AutoETS on logs",
    "LightGBM, same features",
    "hindsight",
)
PARTS: Mapping[str, tuple[float, float]] = {"7th eighth": (0.75, 0.875), "last eighth": (0.875, 1.0)}
ETS_POINTS = 600
SERVICES = 10_000
Method = Callable[[Windows], Quantiles]


def rows(data: Path) -> list[Row]:
    """All figures of the forecast on the folder `data`, laid out as docs/models.md says."""
    series = [one for one in read_folder(data) if one.group in (*GROUPS, "m4_hourly")]
    made = make(series, Job(), lambda _step, _done, _of: None)
    methods = _methods(made)
    table: list[Row] = []
    for part, (start, end) in PARTS.items():
        split = replace(Split(), score=start, until=end)
        scored = windows_of([one for one in series if one.group in GROUPS], made.unseen, split)
        for group, (name, target) in GROUPS.items():
            windows = [one for one in scored if one.series.group == group]
            if windows:
                table += _of_group(f"{name}, {part}", windows, methods, target if part == "last eighth" else None)
    return [*table, *_cost(made.trained)]


def _methods(made: Made) -> dict[str, Method]:
    lightgbm = _lightgbm(made)
    trained, _ = forecast_or_reason(shipped())
    methods: dict[str, Method] = {
        OURS: lambda one: model_quantiles(one, made.trained.model, made.trained.prior),
        "naive": lambda one: one.naive,
        "seasonal naive": lambda one: one.seasonal,
        ETS: _auto_ets,
        LIGHTGBM: lambda one: model_quantiles(one, lightgbm.model, lightgbm.prior, online=False),
        HINDSIGHT: _hindsight,
    }
    if trained is not None:
        methods[SHIPPED] = lambda one: model_quantiles(one, trained.model, trained.prior)
    return methods


def _of_group(
    what: str, windows: Sequence[Windows], methods: Mapping[str, Method], target: float | None
) -> Iterator[Row]:
    scores = {name: score(windows, [method(one) for one in windows]) for name, method in methods.items()}
    known: dict[str, Score] = {name: found for name, found in scores.items() if found is not None}
    for name, found in known.items():
        low, high = found.coverage_range
        yield Row(
            f"{what}: WQL, {name}", (found.wql,), note=f"80 % band {found.coverage:.3f} ({low:.2f} .. {high:.2f})"
        )
    if not {OURS, ETS, LIGHTGBM} <= known.keys():
        return
    best = min(known[ETS].wql, known[LIGHTGBM].wql)
    for name in (HINDSIGHT, OURS, SHIPPED):
        if name in known:
            yield Row(
                f"{what}: ratio, {name}",
                (known[name].wql / best,),
                target=None if name == HINDSIGHT else target,
                at_least=False,
                note=_by_series(known[name], known[LIGHTGBM]),
            )
    for name in (OURS, SHIPPED):
        if name in known:
            yield from _coverage(f"{what}: coverage, {name}", known[name], judged=target is not None)


def _by_series(one: Score, lightgbm: Score) -> str:
    """What is left of LightGBM's loss in each series."""
    ratios = (loss / lightgbm.wql_by_series[name] for name, loss in sorted(one.wql_by_series.items()))
    return "over LightGBM alone, by series: " + ", ".join(f"{ratio:.2f}" for ratio in ratios)


def _coverage(what: str, found: Score, *, judged: bool) -> Iterator[Row]:
    low, high = found.coverage_range
    for part, share, target, at_least in (
        ("least", found.coverage, 0.78, True),
        ("most", found.coverage, 0.82, False),
        ("worst series below", low, 0.72, True),
        ("worst series above", high, 0.88, False),
    ):
        yield Row(f"{what}, {part}", (share,), target=target if judged else None, at_least=at_least)


class _LightGbm:
    """QuantileModel of boosters that were fitted on z itself."""

    def __init__(self, boosters: Sequence[Any]) -> None:
        self._boosters = boosters

    def predict(self, rows: FloatArray) -> FloatArray:
        z = np.stack([one.booster_.predict(rows) for one in self._boosters], axis=1)
        return np.asarray(z - anchor(rows)[:, None], np.float32)


def _lightgbm(made: Made) -> TrainedForecast:
    import lightgbm

    boosters = [
        lightgbm.LGBMRegressor(
            objective="quantile", alpha=quantile, n_estimators=200, n_jobs=1, random_state=0, verbose=-1
        ).fit(made.data.rows, made.data.z)
        for quantile in QUANTILES
    ]
    model = _LightGbm(boosters)
    return TrainedForecast("lightgbm", model, prior_of(model, made.later))


def _auto_ets(windows: Windows) -> Quantiles:
    """AutoETS without a season on log1p of the last 600 points, gaps carried over; naive where it fails."""
    from statsforecast.models import AutoETS

    said = windows.naive.copy()
    values = windows.series.history.values[0]
    ahead = len(windows.horizons_min)
    for place in np.flatnonzero(windows.scored):
        origin = windows.origins[place]
        past = values[max(0, origin - ETS_POINTS) : origin].astype(np.float64)
        known = np.flatnonzero(np.isfinite(past))
        if len(known) < 10:
            continue
        filled = np.interp(np.arange(len(past)), known, past[known])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = AutoETS(season_length=1).forecast(np.log1p(filled), h=ahead, level=[80])
        bands = np.stack([made["lo-80"], made["mean"], made["hi-80"]], axis=-1)
        if np.isfinite(bands).all():
            said[place] = np.maximum(np.expm1(np.minimum(bands, 50.0)), 0.0)
    return said


def _hindsight(windows: Windows) -> Quantiles:
    """Quantiles of the actual deviations, in roots of the mean, around the mean of the hour of each outcome."""
    history = windows.series.history
    values = history.values[0].astype(np.float64)
    hour = np.ones(history.steps(3600.0) // 2 * 2 + 1)
    known = np.isfinite(values)
    total = np.convolve(np.where(known, values, 0.0), hour, "same")
    around = total / np.maximum(np.convolve(known, hour, "same"), 1.0)
    mean = around[windows.origins[:, None] + np.arange(len(windows.horizons_min))]
    # The outcome is one of the hour: where that is silent, so is the outcome.
    root = np.sqrt(np.maximum(mean, np.finfo(np.float64).tiny))
    off = ((windows.actual - mean) / root)[windows.scored]
    spread = np.nanquantile(off, QUANTILES)
    return np.asarray(np.maximum(mean[..., None] + root[..., None] * spread, 0.0))


def _cost(trained: TrainedForecast) -> Iterator[Row]:
    """Milliseconds of one cycle's forecast of 10,000 synthetic services with eight days of history."""
    rng = np.random.default_rng(0)
    values = rng.gamma(20.0, 5.0, (SERVICES, 8 * 288)).astype(np.float32)

    def fresh() -> RateHistory:
        """What a cycle has: a history that nothing was read from yet."""
        return RateHistory(values, 1.7e9, 300.0)

    state = begin(trained.prior, SERVICES, HORIZONS_MIN)
    made = forecast(fresh(), trained, state)
    came = np.zeros((SERVICES, len(HORIZONS_MIN)))
    for what, work in (
        ("features", lambda: features(fresh(), HORIZONS_MIN)),
        ("all of it", lambda: forecast(fresh(), trained, state)),
        ("learning from the outcomes of a step", lambda: learn(state, made.told, came)),
    ):
        spent = []
        for _ in range(3):
            begun = time.perf_counter()
            work()
            spent.append(1e3 * (time.perf_counter() - begun))
        target = 200.0 if what == "all of it" else None
        yield Row(
            f"10,000 services, 5 horizons x 3 quantiles: {what}", tuple(spent), "ms", target, at_least=False
        )
