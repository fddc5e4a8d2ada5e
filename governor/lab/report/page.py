"""The report as one self-contained HTML file: no request leaves it, and its policy allows none.

Words, scores and the table of decisions are plain HTML made here; only the charts need the page's script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import tempfile
from dataclasses import asdict
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from governor.errors import LabError
from governor.explain.report import moment
from governor.lab.report.data import ReportData
from governor.lab.report.words import anomaly_items, decision_rows, finding_items, headline, tally

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} – mesh governor</title>
{styles}
</head>
<body>
<header>
<h1>{title}</h1>
<p class="lead">{headline}</p>
<p class="about">{description} <span class="when">Governed run from {start}, {duration:g} s; a good answer \
comes within {slo:g} s.</span></p>
<ol class="findings">
{findings}</ol>
<p class="note">100 % is what perfect knowledge of load and capacity could have answered in time, second by \
second (a fluid optimum: queues filled before can push a share slightly above it).</p>
</header>
<main>
<section id="clients" aria-label="What clients saw">
<h2>What clients saw <span id="now" class="about"></span></h2>
<noscript><p>The charts need JavaScript; the scores and decisions on this page do not.</p></noscript>
<div id="lane" class="lane"></div>
<div class="charts" id="main-charts"></div>
</section>
<section id="classes" aria-label="Goodput by API">
<h2>Goodput by API</h2>
<div class="charts grid" id="class-charts"></div>
</section>
<section id="learned" aria-label="What the governor found">
<h2>What it found abnormal, and the load it expected</h2>
{anomalies}
<div id="spans" class="lane"></div>
<div class="charts grid two" id="load-charts"></div>
</section>
<section id="knobs" aria-label="What the governor set">
<h2>What the governor set</h2>
<div class="charts grid two" id="knob-charts"></div>
</section>
<section id="decisions" aria-label="Decisions">
<h2>Decisions</h2>
<p class="about">{tally}</p>
{table}</section>
</main>
<footer>Made by mesh governor. Charts: uPlot (MIT). This page makes no network request.</footer>
<div id="tip" role="status" hidden></div>
<script type="application/json" id="data">{data}</script>
{scripts}
</body>
</html>
"""


def write_report(path: Path, data: ReportData) -> None:
    """Write the page to `path`, whole or not at all; LabError if it cannot be written."""
    write_whole(path, render(data))


def require_writable(path: Path) -> None:
    """LabError if a file cannot be written at `path`: told before a long run, not after it."""
    if path.is_dir():
        raise LabError(f"{path}: is a directory; name a file")
    if not path.parent.is_dir():
        raise LabError(f"{path}: there is no directory {path.parent}; make it or name another")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise LabError(f"{path}: nothing can be written in {path.parent}; name another directory")


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all; LabError if it cannot be written."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            # mkstemp makes files that only the owner can read
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise LabError(f"{path}: cannot be written: {error}") from error


def render(data: ReportData) -> str:
    """The whole page."""
    styles = [_asset("vendor/uplot/uPlot.min.css"), _asset("assets/page.css")]
    scripts = [_asset("vendor/uplot/uPlot.iife.min.js"), _asset("assets/page.js")]
    licence = _asset("vendor/uplot/LICENSE")
    # MIT asks that its notice goes with every copy, and each report is one
    scripts[0] = f"/*\nuPlot\n{licence}*/\n{scripts[0]}"
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {' '.join(map(_hash, styles))}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return _PAGE.format(
        policy=policy,
        title=escape(data.title),
        styles="\n".join(f"<style>{text}</style>" for text in styles),
        headline=escape(headline(data)),
        description=escape(data.description),
        start=escape(moment(data.epoch).replace("T", " ").replace("+00:00", " UTC")),
        duration=data.duration_s,
        slo=data.slo_s,
        findings=finding_items(data),
        anomalies=anomaly_items(data),
        tally=escape(tally(data.decisions)),
        table=decision_rows(data.decisions),
        data=embedded(_drawn(data)),
        scripts="\n".join(f"<script>{text}</script>" for text in scripts),
    )


def embedded(value: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element; NaN and inf are null."""
    text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _drawn(data: ReportData) -> dict[str, Any]:
    """What the script draws; the words of the table are in the page already."""
    return {
        "duration": data.duration_s,
        "slo": data.slo_s,
        "timeout": data.timeout_s,
        "optimum": data.optimum,
        "arms": {arm.name: asdict(arm) for arm in (data.governed, data.ungoverned)},
        "faults": [{"start": f.start_s, "end": f.end_s, "label": f.label} for f in data.faults],
        "anomalies": [asdict(span) for span in data.anomalies],
        "loads": [asdict(load) for load in data.loads],
        "panels": [asdict(panel) for panel in data.panels],
        "decisions": [
            {
                "at": d.at_s,
                "knob": d.knob,
                "target": d.target,
                "before": d.before,
                "after": d.after,
                "code": d.code,
                "why": d.sentence,
                "outcome": d.outcome,
            }
            for d in data.decisions
        ],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _asset(name: str) -> str:
    return files("governor.lab.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
