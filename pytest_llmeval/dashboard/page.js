"use strict";
// The page: what it asks for, and what it shows. Data goes in as text, never as markup.
(() => {
  const { draw, number, time } = llmevalCharts;
  const EVERY_MS = 3000;
  const SIGNS = { pass: "✓", fail: "✗", error: "!", inconclusive: "?", incomplete: "…" };
  const find = (id) => document.getElementById(id);
  const held = find("data") && JSON.parse(find("data").textContent);
  const state = { evaluation: null, metric: null, slice: ["", ""], since: "", until: "", run: "", other: "" };
  let shown = 0;

  function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  const say = (text) => { find("status").textContent = text; };
  const key = (name, given) => JSON.stringify([name, ...Object.keys(given).sort().flatMap((k) => [k, given[k]])]);

  async function ask(name, given) {
    if (held) {
      const found = held.answers[key(name, given)];
      if (found === undefined) throw new Error("This file does not hold that; llmeval dashboard shows it.");
      return found;
    }
    const answer = await fetch(`data/${name}?${new URLSearchParams(given)}`, { cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    return answer.json();
  }

  // An answer that comes after a later question of its kind is of no use.
  const turns = {};
  class Outdated extends Error {}

  async function askLatest(name, given) {
    const turn = turns[name] = (turns[name] ?? 0) + 1;
    const found = await ask(name, given);
    if (turns[name] !== turn) throw new Outdated();
    return found;
  }

  const pair = (value) => JSON.stringify(value);
  const span = () => (held ? {} : { since: state.since, until: state.until });
  const evaluation = () => ({ evaluation: pair(state.evaluation) });

  // Visible names have the characters escaped that reorder or hide text.
  const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu;
  const named = (text) => String(text ?? "").replace(HIDDEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  const sliceName = (by, value) => (by === "" && value === "" ? "all rows" : `${named(by)} = ${named(value)}`);
  const short = (text, most = 60) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

  function decision(found) {
    if (!found) return "";
    return element("span", { className: `decision ${found}` }, element("span", { ariaHidden: "true", textContent: `${SIGNS[found] ?? ""} ` }), found);
  }

  // Columns are [title, cell, is a number]; a cell is a text or an element.
  function table(caption, columns, rows) {
    const head = element("tr", {}, ...columns.map(([title, , numeric]) => element("th", { scope: "col", className: numeric ? "number" : "", textContent: title })));
    const body = rows.map((row) => element("tr", {}, ...columns.map(([, cell, numeric], at) => {
      const made = element(at === 0 ? "th" : "td", { className: numeric ? "number" : "" }, cell(row) ?? "");
      if (at === 0) made.scope = "row";
      return made;
    })));
    return element("table", {}, element("caption", { textContent: caption }), element("thead", {}, head), element("tbody", {}, ...body));
  }

  function put(id, caption, columns, rows) {
    const made = rows.length ? table(caption, columns, rows) : element("p", { className: "quiet", textContent: `${caption}: nothing to show.` });
    find(id).replaceChildren(made);
  }

  // A table inside a folded element is made when it is opened: hundreds of rows take time.
  function fold(id, ...given) {
    const details = find(id).closest("details");
    details.ontoggle = () => { if (details.open) put(id, ...given); };
    if (details.open) put(id, ...given);
  }

  const open = (run) => element("button", { type: "button", className: "open", textContent: run, onclick: () => choose(run, true) });

  function fill(id, entries, chosen) {
    find(id).replaceChildren(...entries.map(([value, text]) => element("option", { value, textContent: text, selected: value === chosen })));
  }

  // ---- the trend

  async function showTrend() {
    const found = await askLatest("trend", { ...evaluation(), metric: state.metric, slice: pair(state.slice), ...span() });
    const points = found.points;
    const of = (name) => points.map((point) => point[name]);
    const thinned = points.some((point) => point.runs > 1);
    const lines = [
      { values: of("value"), color: "accent", width: 2, dots: true },
      { values: of("upper") }, { values: of("lower") },
      { values: of("most"), color: thinned ? "bar" : null, width: 0.5 }, { values: of("least"), color: thinned ? "bar" : null, width: 0.5 },
      { values: of("threshold"), color: "ink", dash: [6, 4], stepped: true },
    ];
    const signs = points.map(({ worst: d }) => (d && d !== "pass" ? { text: SIGNS[d], color: d === "inconclusive" ? "inconclusive" : "fail" } : null));
    const marks = [
      ...found.releases.map((one) => ({ at: one.started_at, sign: "▲", text: short(one.model.split(/[/:]/).pop(), 14), color: "quiet", dash: true, row: 0 })),
      ...found.deployments.filter((one) => one.is_live).map((one) => ({ at: one.began_at, sign: "◆", text: one.step ?? "", color: "pass", row: 1 })),
    ].sort((a, b) => a.at - b.at);
    draw(find("trend-chart"), {
      label: `${named(state.metric)} over time, ${sliceName(...state.slice)}; arrow keys move, Enter opens the run`,
      xs: of("started_at"), lines, marks, signs,
      bands: [{ upper: 1, lower: 2, color: "accent", alpha: 18 }, ...(thinned ? [{ upper: 3, lower: 4, color: "bar", alpha: 22 }] : [])],
      told: (at) => told(points[at]),
      heard: find("trend-readout"),
      pick: (at) => choose(points[at].run_id, true),
      range: held ? null : (since, until) => chooseTime(since, until),
    });
    const op = points.findLast((point) => point.op)?.op;
    find("trend-legend").textContent = [
      "line: last run", points[0]?.confidence ? `band: ${number(100 * points[0].confidence)} % interval` : "band: interval",
      thinned ? "inner band: least and most of the runs that share a point" : "", op ? `dashed: threshold (${op})` : "no threshold",
      "✗ ? !: gate not passed", "▲ release", "◆ deployment", held ? "" : "drag to enlarge",
    ].filter(Boolean).join(" · ");
    fold("trend-table", `${named(state.metric)}, ${sliceName(...state.slice)}`, [
      ["run", (p) => open(p.run_id)], ["value", (p) => number(p.value), true], ["from", (p) => number(p.lower), true], ["to", (p) => number(p.upper), true],
      ["least", (p) => number(p.least), true], ["most", (p) => number(p.most), true], ["runs", (p) => number(p.runs), true],
      ["n", (p) => number(p.n), true], ["errors", (p) => number(p.errors), true], ["threshold", (p) => (p.op ? `${p.op} ${number(p.threshold)}` : "")],
      ["gate", (p) => decision(p.decision)], ["model", (p) => p.model],
    ], [...points].reverse());
    fold("events", "Releases and deployments", [
      ["time", (e) => time(e.at)], ["what", (e) => e.what], ["model", (e) => e.model], ["where", (e) => e.target ?? ""], ["outcome", (e) => e.reason ?? ""], ["run", (e) => (e.run_id ? open(e.run_id) : "")],
    ], [
      ...found.releases.map((e) => ({ ...e, at: e.started_at, what: "▲ release" })),
      ...found.deployments.map((e) => ({ ...e, at: e.began_at, what: `◆ ${e.step}` })),
    ].sort((a, b) => b.at - a.at));
    return points.length;
  }

  function told(point) {
    const gate = point.decision ? `, gate ${point.decision}` : "";
    const more = point.runs > 1 ? `; ${point.runs} runs from ${number(point.least)} to ${number(point.most)}` : "";
    const commit = point.git_commit ? `, commit ${point.git_commit.slice(0, 8)}` : "";
    return `${time(point.started_at)}: ${number(point.value)} (${number(point.lower)} to ${number(point.upper)}), n ${number(point.n)}, errors ${number(point.errors)}${gate}, ${point.model ?? ""}${commit}${more}`;
  }

  // ---- the gates of all suites

  async function showHeat() {
    const { cells } = await askLatest("heat", span());
    const suites = Map.groupBy(cells, (cell) => cell.suite);
    const parts = [...new Set(cells.map((cell) => cell.part))].sort((a, b) => a - b);
    const dates = new Map(cells.map((cell) => [cell.part, time(cell.first).slice(0, 10)]));
    const heads = parts.map((part, at) => element("th", { scope: "col" }, element("span", { className: at % 8 ? "hear" : "date", textContent: dates.get(part) })));
    const rows = [...suites].map(([suite, found]) => {
      const at = new Map(found.map((cell) => [cell.part, cell]));
      return element("tr", {}, element("th", { scope: "row", textContent: short(named(suite), 40), title: named(suite) }),
        ...parts.map((part) => element("td", {}, at.has(part) ? heatCell(at.get(part)) : element("span", { className: "hear", textContent: "no runs" }))));
    });
    const made = element("table", { className: "heat" }, element("caption", { className: "hear", textContent: "Gates of each suite over time" }),
      element("thead", {}, element("tr", {}, element("th", { scope: "col", textContent: "suite" }), ...heads)), element("tbody", {}, ...rows));
    const focused = [...find("heat").querySelectorAll("button")].indexOf(document.activeElement);
    find("heat").replaceChildren(cells.length ? made : element("p", { className: "quiet", textContent: "No gate was decided in this time." }));
    const buttons = find("heat").querySelectorAll("button");
    const entry = buttons[focused] ?? buttons[0];
    if (entry) entry.tabIndex = 0;
    if (focused >= 0) entry?.focus();
  }

  function heatCell(cell) {
    const worst = cell.errors ? "error" : cell.failed ? "fail" : cell.inconclusive ? "inconclusive" : "pass";
    const counts = [["passed", cell.passed], ["failed", cell.failed], ["inconclusive", cell.inconclusive], ["in error", cell.errors]]
      .filter(([, count]) => count).map(([name, count]) => `${count} ${name}`).join(", ");
    const text = `${named(cell.suite)}, ${time(cell.first)} to ${time(cell.last)}: ${counts}`;
    return element("button", { type: "button", tabIndex: -1, className: `cell ${worst}`, textContent: SIGNS[worst], title: text, ariaLabel: text, onclick: () => choose(cell.missed ?? cell.run_id, true) });
  }

  find("heat").addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const cell = event.target.closest("td");
    if (!cell || !(event.key in moves)) return;
    const [dx, dy] = moves[event.key];
    const row = cell.parentElement.parentElement.rows[cell.parentElement.sectionRowIndex + dy];
    const next = row?.cells[cell.cellIndex + dx]?.querySelector("button");
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    event.preventDefault();
  });

  // ---- slices, latency and cost

  async function showSlices() {
    const { slices } = await askLatest("slices", { ...evaluation(), metric: state.metric, ...span() });
    put("slice-table", `${named(state.metric)} in the last run, by slice`, [
      ["slice", (s) => element("button", { type: "button", className: "open", textContent: sliceName(s.slice_by, s.slice_value), onclick: () => chooseSlice([s.slice_by, s.slice_value]) })],
      ["value", (s) => number(s.value), true], ["from", (s) => number(s.lower), true], ["to", (s) => number(s.upper), true],
      ["run before", (s) => number(s.before), true], ["change", (s) => (s.value === null || s.before === null ? "-" : number(s.value - s.before)), true],
      ["n", (s) => number(s.n), true], ["errors", (s) => number(s.errors), true],
    ], slices);
  }

  async function showCalls() {
    const { points } = await askLatest("calls", { ...evaluation(), ...span() });
    const xs = points.map((point) => point.started_at);
    const of = (name) => points.map((point) => point[name]);
    const pick = (at) => choose(points[at].run_id, true);
    draw(find("latency-chart"), {
      label: "Latency over time: median and 95th percentile", height: 200, xs, pick,
      lines: [{ values: of("p50"), color: "accent", width: 2 }, { values: of("p95"), color: "inconclusive", dash: [6, 3] }],
      told: (at) => `${time(xs[at])}: median ${number(points[at].p50)} ms, 95 % within ${number(points[at].p95)} ms`,
    });
    draw(find("cost-chart"), {
      label: "Cost of a run over time", height: 200, xs, pick, lines: [{ values: of("cost"), color: "accent", width: 2 }],
      told: (at) => `${time(xs[at])}: ${number(points[at].cost)} US dollars`,
    });
    fold("calls-table", "Latency and cost", [
      ["until", (p) => time(p.started_at)], ["runs", (p) => number(p.runs), true], ["median in ms", (p) => number(p.p50), true],
      ["95 % within ms", (p) => number(p.p95), true], ["US dollars a run", (p) => number(p.cost), true], ["together", (p) => number(p.total), true],
    ], [...points].reverse());
  }

  // ---- one run, and two

  async function choose(run, jump = false) {
    [state.run, state.followed] = [run, true];
    showChoice();
    if (jump) find("run").focus();
    await guarded(showRun);
  }

  function showChoice() {
    const runs = state.runs.map((r) => [r.run_id, `${r.run_id} ${SIGNS[r.status] ?? ""} ${r.status ?? ""}`]);
    const known = runs.some(([id]) => id === state.run) || !state.run ? runs : [[state.run, state.run], ...runs];
    fill("run-choice", known, state.run);
    fill("run-other", [["", "no other run"], ...runs.filter(([id]) => id !== state.run)], state.other);
  }

  async function showRun() {
    const run = state.run;
    if (!run) return;
    const found = await askLatest("run", { run });
    const facts = found.run;
    const list = [["run", facts.run_id], ["began", time(facts.started_at)], ["model", facts.model], ["commit", facts.git_commit], ["branch", facts.git_branch],
      ["answers", number(facts.rows)], ["requests", number(facts.requests)], ["US dollars", number(facts.cost_usd)], ["seconds", number(facts.duration_s)]];
    const parts = [
      element("p", { className: `verdict ${facts.status}` }, element("strong", { textContent: `${SIGNS[facts.status] ?? ""} ${facts.status}` }), facts.reason === "OK" ? "" : ` ${facts.reason ?? ""}: ${facts.detail ?? ""}`),
      element("dl", { className: "facts" }, ...list.filter(([, text]) => text && text !== "-").map(([name, text]) => element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: text })))),
      table("Gates", [
        ["gate", (g) => `${named(g.metric)} ${g.op ?? ""} ${number(g.threshold)}${g.slice_by ? `, ${sliceName(g.slice_by, g.slice_value)}` : ""}`], ["decision", (g) => decision(g.decision)],
        ["value", (g) => number(g.value), true], ["from", (g) => number(g.lower), true], ["to", (g) => number(g.upper), true], ["n", (g) => number(g.n), true], ["errors", (g) => number(g.errors), true], ["test", (g) => g.test],
      ], found.gates),
    ];
    const metrics = element("details", {}, element("summary", { textContent: "All metrics of this run" }), element("div", { className: "scroll" },
      table("Metrics", [
        ["metric", (m) => named(m.metric)], ["slice", (m) => sliceName(m.slice_by, m.slice_value)], ["value", (m) => number(m.value), true],
        ["from", (m) => number(m.lower), true], ["to", (m) => number(m.upper), true], ["n", (m) => number(m.n), true], ["errors", (m) => number(m.errors), true],
      ], found.metrics)));
    const rows = element("div", { id: "run-rows" });
    find("run-detail").replaceChildren(...parts.map((part) => element("div", { className: "scroll" }, part)), rows, metrics);
    const given = { ...evaluation(), metric: state.metric, run };
    const [answer, show] = state.other ? [await askLatest("compare", { ...given, other: state.other }), showCompared] : [await askLatest("worst", given), showWorst];
    show(rows, answer);
  }

  const text = (found) => element("div", { className: "clip", title: short(found ?? "", 2000), textContent: found ?? "" });

  function showWorst(place, { rows, of, source }) {
    const made = table(`Worst rows by ${named(state.metric)}: ${rows.length} of ${of}`, [
      ["row", (r) => named(r.id)], ["score", (r) => number(r.score), true], ["input", (r) => text(r.input)], ["expected", (r) => text(r.expected)],
      ["output", (r) => text(r.output)], ["error", (r) => text(r.error)],
    ], rows);
    place.replaceChildren(rows.length ? element("div", { className: "scroll" }, made) : element("p", { className: "note", textContent: `No rows: ${source || "none has a score by this metric"}.` }));
  }

  function showCompared(place, found) {
    const counts = `${found.worse} worse, ${found.better} better, ${found.same} the same, ${found.unscored} without a score; ${found.only_now} only in this run, ${found.only_before} only in the other`;
    const made = table(`Rows whose ${named(state.metric)} differs from ${state.other}, the worsened ones first`, [
      ["row", (r) => named(r.id)], ["before", (r) => number(r.before.score), true], ["now", (r) => number(r.score), true], ["change", (r) => number(r.change), true],
      ["input", (r) => text(r.input)], ["expected", (r) => text(r.expected)], ["output before", (r) => text(r.before.output ?? r.before.error)], ["output now", (r) => text(r.output ?? r.error)],
    ], found.rows);
    place.replaceChildren(element("p", { className: "note", id: "counts", textContent: found.source ? `No comparison: ${found.source}.` : counts }), element("div", { className: "scroll" }, made));
  }

  // ---- what is chosen

  // Shows the first before the others, which the reader has not asked for.
  async function guarded(show, ...others) {
    const mine = ++shown;
    try {
      const first = await show();
      if (mine === shown && typeof first === "number") say(`${state.runs.length >= 200 ? "The latest 200 of its runs" : `${state.runs.length} runs`} can be chosen; the trend has ${first} points.`);
      if (mine === shown) await Promise.all(others.map((other) => other()));
      return true;
    } catch (error) {
      if (!(error instanceof Outdated)) say(error.message);
      return false;
    }
  }

  async function showLists() {
    const found = await askLatest("lists", state.evaluation ? evaluation() : {});
    const names = new Map(found.evaluations.map(({ key: [suite, name] }) => [pair([suite, name]), short(name ? `${named(name)} (${named(suite)})` : named(suite), 80)]));
    if (!names.size) throw new Error("The history has no evaluation yet.");
    state.evaluation ??= found.evaluations[0].key;
    state.runs = found.runs;
    if (!found.metrics.includes(state.metric)) state.metric = found.metrics.includes(found.gated) ? found.gated : found.metrics[0] ?? "";
    if (!found.slices.some((slice) => pair(slice) === pair(state.slice))) state.slice = found.slices[0] ?? ["", ""];
    if (!state.run || !state.followed) state.run = found.runs[0]?.run_id ?? "";
    fill("evaluation", [...names], pair(state.evaluation));
    fill("metric", found.metrics.map((name) => [name, short(named(name))]), state.metric);
    fill("slice", found.slices.map((slice) => [pair(slice), short(sliceName(...slice))]), pair(state.slice));
    showChoice();
  }

  async function showAll() {
    if (!await guarded(showLists)) return;
    await guarded(async () => {
      const points = await showTrend();
      performance.mark("llmeval-trend");
      return points;
    }, showHeat, showSlices, showCalls, showRun);
  }

  function chooseSlice(slice) {
    state.slice = slice;
    find("slice").value = pair(slice);
    guarded(showTrend);
    find("trend-chart").focus();
  }

  function chooseTime(since, until) {
    [state.since, state.until] = [String(since), String(until)];
    find("time").querySelector("[value=chosen]").hidden = false;
    find("time").value = "chosen";
    guarded(showTrend, showHeat, showSlices, showCalls);
  }

  find("evaluation").onchange = (event) => { state.evaluation = JSON.parse(event.target.value); state.other = ""; state.followed = false; showAll(); };
  find("metric").onchange = (event) => { state.metric = event.target.value; guarded(showTrend, showSlices, showRun); };
  find("slice").onchange = (event) => { state.slice = JSON.parse(event.target.value); guarded(showTrend); };
  find("time").onchange = (event) => {
    const length = Number(event.target.value);
    [state.since, state.until] = [length ? String(Date.now() / 1000 - length) : "", ""];
    guarded(showTrend, showHeat, showSlices, showCalls);
  };
  find("run-choice").onchange = (event) => choose(event.target.value);
  find("run-other").onchange = (event) => { state.other = event.target.value; guarded(showRun); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => guarded(showTrend, showCalls));
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    guarded(showTrend, showCalls);
  });

  // ---- new runs

  let tag = null;

  async function follow() {
    if (!document.hidden) {
      try {
        const answer = await fetch("data/version", { cache: "no-store", headers: tag ? { "If-None-Match": tag } : {} });
        if (answer.status === 200) {
          const known = tag;
          tag = answer.headers.get("ETag");
          if (known) await showAll();
        } else if (answer.status !== 304) say((await answer.text()).trim());
      } catch {
        say("The server does not answer; start it again with llmeval dashboard, and open the address that it prints.");
      }
    }
    setTimeout(follow, EVERY_MS);
  }

  if (held) {
    find("time").closest("label").hidden = true;
    say(held.note);
    showAll();
  } else {
    showAll().then(follow);
  }
})();
