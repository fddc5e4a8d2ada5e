/* Draws the charts and the lane of decisions from the JSON in #data. One shared time axis, one cursor in all. */
(function () {
  "use strict";

  const failures = [];
  const failed = (text) => {
    failures.push(String(text));
    document.body.dataset.errors = failures.join(" | ");
  };
  window.addEventListener("error", (event) => failed(event.message));
  document.addEventListener("securitypolicyviolation", (event) => failed("policy: " + event.violatedDirective));

  const data = JSON.parse(document.getElementById("data").textContent);
  const GUTTER = 76, SMALL_GUTTER = 56, RIGHT = 26, GROUP_PX = 14;
  const ARMS = ["governed", "ungoverned"];
  const DASH = { governed: [], ungoverned: [7, 4], offered: [2, 3] };
  const LINE_COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7"];
  const LINE_DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
  const LANES = {
    "rate-limit": "rate limit", "in-flight-cap": "cap", weights: "weights", retries: "retries",
    timeout: "timeout", "outlier-detection": "ejection", "connection-limits": "pool",
  };
  const charts = [];
  const seconds = Array.from(data.optimum, (_, second) => second);

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const drawing = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const name in attributes) made.setAttribute(name, attributes[name]);
    return made;
  };
  const short = (value) => String(+value.toPrecision(3));
  const FORMAT = {
    "requests/s": (v) => short(v) + "/s",
    share: (v) => short(100 * v) + " %",
    s: (v) => (v < 1 ? short(1000 * v) + " ms" : short(v) + " s"),
  };
  const format = (unit) => FORMAT[unit] || short;
  /* Things that are counted have no ticks between whole numbers. */
  const WHOLE = [1, 2, 5].flatMap((n) => [n, 10 * n, 100 * n, 1000 * n, 1e4 * n, 1e5 * n]).sort((a, b) => a - b);

  /* A legend that is always there: the line as it is drawn, its name, and its value under the cursor. */
  function key(holder, series, turned) {
    const list = element("ul", "key"), items = [];
    const values = series.map((one) => {
      const item = element("li"), picture = drawing("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" });
      if (one.area) picture.append(drawing("rect", { x: 1, y: 1, width: 24, height: 8, fill: css(one.area), stroke: css(one.colour) }));
      else picture.append(drawing("line", {
        x1: 0, x2: 26, y1: 5, y2: 5, stroke: css(one.colour), "stroke-width": one.width, "stroke-dasharray": one.dash.join(" "),
      }));
      const value = element("b");
      item.append(picture, element("span", "", one.name), value);
      items.push(item);
      return value;
    });
    list.append(...(turned ? items.reverse() : items));
    holder.append(list);
    return (chart) => {
      const at = chart.cursor.idx;
      document.getElementById("now").textContent = at == null ? "" : "at " + short(chart.data[0][at]) + " s";
      values.forEach((value, number) => {
        const found = at == null ? undefined : chart.data[number + 1][at];
        value.textContent = at == null ? "" : found == null ? series[number].unset || "–" : series[number].show(found);
      });
    };
  }

  /* Bands behind the lines; in a chart with `labels`, their number or name above the plot. */
  function bands(labels) {
    const behind = (chart) => {
      const { ctx, bbox } = chart;
      ctx.save();
      ctx.fillStyle = css("--fault");
      for (const fault of data.faults) {
        const from = chart.valToPos(fault.start, "x", true), to = chart.valToPos(fault.end, "x", true);
        ctx.fillRect(from, bbox.top, to - from, bbox.height);
      }
      ctx.restore();
    };
    const above = (chart) => {
      const { ctx, bbox } = chart, ratio = uPlot.pxRatio;
      ctx.save();
      ctx.font = "600 " + 11.5 * ratio + "px system-ui, sans-serif";
      ctx.fillStyle = css("--ink");
      ctx.textBaseline = "bottom";
      ctx.textAlign = "left";
      let free = bbox.left;
      data.faults.forEach((fault, number) => {
        const next = data.faults[number + 1];
        const end = next ? chart.valToPos(next.start, "x", true) - 8 * ratio : bbox.left + bbox.width;
        const from = Math.max(chart.valToPos(fault.start, "x", true), free);
        const whole = number + 1 + "  " + fault.label;
        const text = from + ctx.measureText(whole).width <= end ? whole : String(number + 1);
        ctx.fillText(text, from, bbox.top - 4 * ratio);
        free = from + ctx.measureText(text).width + 8 * ratio;
      });
      ctx.restore();
    };
    return { hooks: { drawClear: [behind], draw: labels ? [above] : [] } };
  }

  function limitLine(value) {
    const draw = (chart) => {
      const { ctx, bbox } = chart, ratio = uPlot.pxRatio, y = chart.valToPos(value, "y", true);
      if (!(y > bbox.top && y < bbox.top + bbox.height)) return;
      ctx.save();
      ctx.strokeStyle = css("--ink");
      ctx.lineWidth = ratio;
      ctx.setLineDash([2 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.restore();
    };
    return { hooks: { draw: [draw] } };
  }

  /* plan: {title, note, height, x, series: [{name, colour, dash, width, area, show, values}], unit, log, y,
     labels, limit, small, turned, between: two series with the room between them filled}; series are drawn in their order, the key of a `turned` one names the last first. */
  function chart(holder, plan) {
    const box = element("div");
    const title = element("h3", "", plan.title + " ");
    title.append(element("span", "", plan.note || ""));
    const head = element("div", "head");
    head.append(title);
    box.append(head);
    holder.append(box);
    const plot = element("div");
    box.append(plot);
    const update = key(head, plan.series, plan.turned);
    const axis = { stroke: css("--soft"), font: "12px system-ui, sans-serif", grid: { stroke: css("--grid"), width: 1 },
      ticks: { stroke: css("--grid"), width: 1, size: 4 } };
    const show = format(plan.unit);
    const options = {
      width: Math.max(plot.clientWidth, 120),
      height: plan.height,
      padding: [plan.labels ? 22 : 8, RIGHT, 0, 0],
      legend: { show: false },
      cursor: { y: false, sync: { key: "run", setSeries: false }, drag: { x: false, y: false, setScale: false }, points: { size: 7 } },
      scales: { x: { time: false, range: [0, data.duration] }, y: { distr: plan.log ? 3 : 1, range: plan.y } },
      axes: [
        { ...axis, size: 30, gap: 4, space: 60, incrs: [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600], values: (_, ticks) => ticks.map((t) => t + " s") },
        { ...axis, size: plan.small ? SMALL_GUTTER : GUTTER, gap: 6, space: 28, incrs: FORMAT[plan.unit] ? undefined : WHOLE,
          filter: plan.log ? (_, ticks) => ticks.map((t) => (/^[125]e/.test(Number(t.toPrecision(6)).toExponential()) ? t : null)) : undefined,
          values: (_, ticks) => ticks.map((t) => (t == null ? null : show(t))) },
      ],
      series: [{}].concat(plan.series.map((one) => ({
        label: one.name, stroke: css(one.colour), width: one.width, dash: one.dash.length ? one.dash : undefined,
        fill: one.area ? css(one.area) : undefined, points: { show: false }, spanGaps: false,
        paths: one.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
      }))),
      bands: plan.between ? [{ series: plan.between, fill: css("--optimum-fill") }] : undefined,
      plugins: [bands(plan.labels)].concat(plan.limit ? [limitLine(plan.limit)] : []),
      hooks: { setCursor: [update] },
    };
    const made = new uPlot(options, [plan.x || seconds].concat(plan.series.map((one) => one.values)), plot);
    made.root.setAttribute("role", "img");
    made.root.setAttribute("aria-label", plan.title + ": " + plan.series.map((one) => one.name).join(", "));
    charts.push({ made, plot });
    return made;
  }

  const line = (name, colour, dash, values, unit, more) =>
    Object.assign({ name, colour, dash, width: 2, values, show: format(unit) }, more);
  const arms = (values, unit) => ARMS.map((name) => line(name, "--" + name, DASH[name], values(data.arms[name]), unit));
  /* The next 1, 2 or 5 times a power of ten below a value: where a log axis may begin. */
  const round125 = (value) => {
    const power = 10 ** Math.floor(Math.log10(value)), times = value / power;
    return power * (times >= 5 ? 5 : times >= 2 ? 2 : 1);
  };
  const most = (...lists) => Math.max(1e-9, ...lists.flat().filter((value) => value != null));

  function clients() {
    const holder = document.getElementById("main-charts"), governed = data.arms.governed;
    const rates = [
      line("best possible", "--optimum", [], data.optimum, "requests/s", { area: "--optimum-fill", width: 1 }),
      line("offered", "--offered", DASH.offered, governed.offered, "requests/s", { width: 1.5 }),
    ].concat(arms((arm) => arm.goodput, "requests/s").reverse());
    const first = chart(holder, {
      title: "Goodput", note: "answers within the SLO each second", height: 260, labels: true, turned: true, unit: "requests/s",
      y: [0, 1.06 * most(...rates.map((one) => one.values))], series: rates,
    });
    const late = arms((arm) => arm.p99_s, "s").reverse();
    const show = format("s"), least = Math.min(data.slo, ...late.flatMap((one) => one.values).filter((value) => value > 0));
    chart(holder, {
      title: "p99 latency", note: `log scale; dotted: the SLO, ${show(data.slo)}; a failure counts as ${show(data.timeout)}`,
      height: 190, unit: "s", log: true, series: late, limit: data.slo, turned: true,
      y: [round125(Math.max(least, 1e-4)), 1.3 * most([data.timeout], ...late.map((one) => one.values))],
    });
    chart(holder, {
      title: "Success", note: "requests answered well, however late", height: 150, unit: "share", y: [0, 1.04], turned: true,
      series: arms((arm) => arm.success, "share").reverse(),
    });
    if (ARMS.some((name) => data.arms[name].retries.length)) {
      const again = arms((arm) => arm.retries, "requests/s").reverse();
      chart(holder, {
        title: "Retries", note: "attempts after the first that the proxies sent each second", height: 150, unit: "requests/s",
        y: [0, 1.06 * most([1], ...again.map((one) => one.values))], turned: true, series: again,
      });
    }
    return first;
  }

  function classes() {
    const holder = document.getElementById("class-charts");
    for (const name of Object.keys(data.arms.governed.goodput_by_class)) {
      const series = arms((arm) => arm.goodput_by_class[name] || [], "requests/s").reverse();
      for (const one of series) one.width = 1.5;
      const top = 1.06 * most(...series.map((one) => one.values));
      chart(holder, { title: name, height: 150, unit: "requests/s", series, y: [0, top], small: true, turned: true });
    }
  }

  function knobs() {
    const holder = document.getElementById("knob-charts");
    if (!data.panels.length) holder.append(element("p", "empty", "Nothing was changed."));
    for (const panel of data.panels) {
      const times = panel.lines.flatMap((one) => one.points.map((point) => point[0]));
      const x = Array.from(new Set(seconds.concat(times, [data.duration]))).sort((a, b) => a - b);
      const series = panel.lines.map((one, number) => {
        let at = 0;
        const values = x.map((time) => {
          while (at + 1 < one.points.length && one.points[at + 1][0] <= time) at += 1;
          return one.points[at][1];
        });
        const colour = LINE_COLOURS[number % LINE_COLOURS.length], dash = LINE_DASHES[number % LINE_DASHES.length];
        return line(one.name, colour, dash, values, panel.unit, { stepped: true, unset: panel.unset });
      });
      chart(holder, {
        title: panel.title, note: "gap: " + panel.unset, height: 170, unit: panel.unit, x, series, small: true,
        y: [0, 1.1 * most(...series.map((one) => one.values))],
      });
    }
  }

  /* Load as it came, and the band that was expected of it some minutes before. */
  function loads() {
    const holder = document.getElementById("load-charts");
    for (const load of data.loads) {
      const times = load.seen.concat(load.said).map((point) => point[0]);
      const x = Array.from(new Set(times.concat([0, data.duration]))).sort((a, b) => a - b);
      const values = (points, column) => {
        const found = new Map(points.map((point) => [point[0], point[column]]));
        return x.map((time) => found.get(time));
      };
      const join = (points, column) => {
        const known = values(points, column);
        let last;
        return known.map((value) => (last = value === undefined ? last : value));
      };
      const first = load.said.length ? load.said[0][0] : data.duration;
      const band = (column) => join(load.said, column).map((value, at) => (x[at] < first ? null : value));
      const series = [
        line("one time in ten more", "--optimum", [], band(3), "requests/s", { width: 1 }),
        line("expected", "--optimum", [7, 4], band(2), "requests/s", { width: 1.5 }),
        line("one time in ten less", "--optimum", [2, 3], band(1), "requests/s", { width: 1 }),
        line("seen", "--governed", [], join(load.seen, 1), "requests/s"),
      ];
      chart(holder, {
        title: "Load of " + load.service, note: "expected " + short(load.in_min) + " min before", height: 190,
        unit: "requests/s", x, series, small: true, turned: true, between: [1, 3], y: [0, 1.1 * most(...series.map((one) => one.values))],
      });
    }
  }

  /* The faults behind a row of a lane. */
  function faults(left, scale) {
    return data.faults.map((fault) => {
      const band = element("div", "band");
      band.style.left = left + fault.start * scale + "px";
      band.style.width = (fault.end - fault.start) * scale + "px";
      return band;
    });
  }

  /* A bar for each time that a signal was abnormal, a row for each subject. */
  function spans(chart) {
    const holder = document.getElementById("spans");
    holder.replaceChildren();
    const scale = chart.bbox.width / uPlot.pxRatio / data.duration, left = chart.bbox.left / uPlot.pxRatio;
    for (const subject of Array.from(new Set(data.anomalies.map((span) => span.subject)))) {
      const row = element("div", "row");
      row.append(...faults(left, scale));
      const first = data.anomalies.find((one) => one.subject === subject);
      const name = element("span", first.start_s > data.duration / 2 ? "name before" : "name", subject);
      const edge = first.start_s > data.duration / 2 ? first.start_s : first.end_s;
      name.style.left = left + edge * scale + "px";
      row.append(name);
      for (const span of data.anomalies.filter((one) => one.subject === subject)) {
        const bar = element("div", "span");
        bar.style.left = left + span.start_s * scale + "px";
        bar.style.width = Math.max((span.end_s - span.start_s) * scale, 4) + "px";
        bar.title = `${span.subject} ${span.signal}, ${short(span.start_s)} to ${short(span.end_s)} s`;
        row.append(bar);
      }
      holder.append(row);
    }
  }

  /* Decisions on the time axis of the first chart: a row for each knob, near ones in one mark. */
  function lane(chart) {
    const holder = document.getElementById("lane");
    holder.replaceChildren();
    if (!data.decisions.length) return;
    const scale = chart.bbox.width / uPlot.pxRatio / data.duration, left = chart.bbox.left / uPlot.pxRatio;
    for (const knob of Object.keys(LANES)) {
      const own = data.decisions.map((d, index) => ({ ...d, index })).filter((d) => d.knob === knob);
      if (!own.length) continue;
      const row = element("div", "row");
      row.append(element("span", "", LANES[knob]));
      row.append(...faults(left, scale));
      const groups = [];
      for (const decision of own) {
        const last = groups[groups.length - 1];
        if (last && (decision.at - last[0].at) * scale < GROUP_PX) last.push(decision);
        else groups.push([decision]);
      }
      for (const group of groups) row.append(mark(chart, group, left, scale));
      holder.append(row);
    }
    const hint = element("p", "hint");
    for (const [kind, words] of [["kept", "kept"], ["undone", "undone or rejected"], ["open", "replaced or not judged"]]) {
      const item = element("span");
      item.append(element("i", "mark " + kind), words);
      hint.append(item);
    }
    hint.append(element("span", "", "Point at a mark to read it, follow it to its row in the table."));
    holder.append(hint);
  }

  function mark(chart, group, left, scale) {
    const worst = ["undone", "rejected", "kept", "replaced", "open"].find((kind) => group.some((d) => d.outcome === kind));
    const made = element("a", "mark " + worst, group.length > 1 ? String(group.length) : "");
    made.href = "#d" + group[0].index;
    made.style.left = left + Math.min(Math.max(group[0].at, 0), data.duration) * scale + "px";
    const texts = group.map((d) => `${d.at.toFixed(1)} s, ${d.target} ${d.knob}: ${d.before} → ${d.after}. ${d.code} ${d.why}; ${d.outcome}.`);
    made.setAttribute("aria-label", texts.join(" "));
    const show = () => {
      tip(made, texts);
      chart.setCursor({ left: chart.valToPos(Math.max(group[0].at, 0), "x"), top: 10 }, true, true);
    };
    const hide = () => {
      document.getElementById("tip").hidden = true;
      chart.setCursor({ left: -10, top: -10 }, true, true);
    };
    made.addEventListener("mouseenter", show);
    made.addEventListener("focus", show);
    made.addEventListener("mouseleave", hide);
    made.addEventListener("blur", hide);
    return made;
  }

  function tip(anchor, texts) {
    const box = document.getElementById("tip");
    box.replaceChildren(...texts.slice(0, 5).map((text) => element("p", "", text)));
    if (texts.length > 5) box.append(element("p", "", "and " + (texts.length - 5) + " more"));
    box.hidden = false;
    const at = anchor.getBoundingClientRect();
    const room = document.documentElement.clientWidth - box.offsetWidth - 8;
    box.style.left = Math.max(8, Math.min(at.left - 20, room)) + window.scrollX + "px";
    box.style.top = at.bottom + 6 + window.scrollY + "px";
  }

  function draw() {
    for (const { made } of charts.splice(0)) made.destroy();
    for (const id of ["main-charts", "class-charts", "knob-charts", "load-charts"]) document.getElementById(id).replaceChildren();
    const first = clients();
    classes();
    loads();
    knobs();
    lane(first);
    spans(first);
    document.body.dataset.charts = String(charts.length);
  }

  try {
    draw();
    let width = document.documentElement.clientWidth;
    window.addEventListener("resize", () => {
      if (document.documentElement.clientWidth === width) return;
      width = document.documentElement.clientWidth;
      requestAnimationFrame(draw);
    });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    // uPlot paints in a microtask
    requestAnimationFrame(() => { document.body.dataset.ready = "true"; });
  } catch (error) {
    failed(error.stack || error);
  }
})();
