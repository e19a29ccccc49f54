"use strict";
// Everything that a row says goes into the page as text, never as markup.
(() => {
  const PAGE = 50;
  const SHORT = 160;
  const SHORT_ID = 24;
  const TEXTS = ["id", "input", "expected", "output", "errors", "context", "columns"];
  const find = (id) => document.getElementById(id);
  if (!find("rows")) return;

  const data = JSON.parse(find("data").textContent);
  const controls = find("controls");
  const state = { sort: null, descending: false, page: 0, open: new Set() };
  data.rows.forEach((row, at) => { row.at = at; });
  let visible = [];

  function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  const value = (id) => find(id).value;
  const chosen = () => value("evaluation") === "" ? data.evaluations
    : [data.evaluations[Number(value("evaluation"))]];
  const unique = (names) => [...new Set(names)];
  const metricNames = () => unique(chosen().flatMap((e) => e.metrics.map((m) => m.name)));

  function metricOf(row, name) {
    return data.evaluations[row.evaluation].metrics.findIndex((m) => m.name === name);
  }

  function score(row, name) {
    return row.scores[metricOf(row, name)] ?? null;
  }

  // Positive where the row became better, also where less is better.
  function change(row, name) {
    const place = metricOf(row, name);
    const now = row.scores[place] ?? null;
    const before = row.before?.scores[place] ?? null;
    if (now === null || before === null) return null;
    const better = data.evaluations[row.evaluation].metrics[place].higher;
    return better ? now - before : before - now;
  }

  function searchable(row) {
    row.text ??= [...TEXTS.map((name) => row[name]), row.before?.output]
      .join("\n").toLowerCase();
    return row.text;
  }

  function number(found) {
    if (found === null || found === undefined) return "";
    const small = found !== 0 && Math.abs(found) < 0.001;
    return small ? found.toPrecision(3) : found.toFixed(3);
  }

  const signed = (found) => found > 0 ? `+${number(found)}` : number(found);

  function short(text, limit = SHORT) {
    const characters = Array.from((text ?? "").slice(0, 2 * limit));
    const head = characters.slice(0, limit).join("");
    return head.length < (text ?? "").length ? `${head}…` : head;
  }

  // One entry for each column: its title, its cell and what it sorts by. A metric may be
  // called like a column, so each has a name that is its own.
  function columns() {
    const metric = value("metric");
    const text = (name) => ({ id: name, title: name, cell: (row) => short(row[name]), key: (row) => row[name] ?? null });
    const all = [{ id: "row", title: "row", key: (row) => row.id }];
    if (chosen().length > 1) {
      const name = (row) => data.evaluations[row.evaluation].name;
      all.push({ id: "evaluation", title: "evaluation", cell: (row) => short(name(row)), key: name });
    }
    all.push(text("input"), text("expected"), text("output"));
    for (const name of metricNames()) {
      const key = (row) => score(row, name);
      all.push({ id: `score ${name}`, title: name, cell: (row) => number(key(row)), key, numeric: true });
    }
    if (metric && chosen().some((e) => e.compared)) {
      const key = (row) => change(row, metric);
      all.push({ id: "change", title: `change of ${metric}`, cell: (row) => signed(key(row)), key, numeric: true });
    }
    if (metricNames().includes("latency_ms")) return all;
    const latency = (row) => row.latency_ms ?? null;
    const ms = (row) => row.latency_ms === undefined ? "" : row.latency_ms.toFixed(0);
    return [...all, { id: "latency", title: "latency ms", cell: ms, key: latency, numeric: true }];
  }

  const tests = {
    all: () => true,
    errors: (row) => row.errors !== undefined,
    changed: (row) => Boolean(change(row, value("metric"))),
    worse: (row) => change(row, value("metric")) < 0,
    better: (row) => change(row, value("metric")) > 0,
  };

  function sliceTest() {
    if (value("slice") === "") return () => true;
    const [column, wanted] = JSON.parse(value("slice"));
    const places = data.evaluations.map((evaluation) => {
      const at = evaluation.columns.findIndex((each) => each.name === column);
      return [at, at < 0 ? -1 : evaluation.columns[at].values.indexOf(wanted)];
    });
    return (row) => {
      const [at, place] = places[row.evaluation];
      return at >= 0 && place >= 0 && row.slices[at] === place;
    };
  }

  function scoreTest() {
    const [least, most] = ["least", "most"].map((id) => find(id).valueAsNumber);
    if (Number.isNaN(least) && Number.isNaN(most)) return () => true;
    return (row) => {
      const found = score(row, value("metric"));
      return found !== null && !(found < least) && !(found > most);
    };
  }

  function filter() {
    const wanted = value("search").trim().toLowerCase();
    const place = value("evaluation");
    const kept = [
      (row) => place === "" || row.evaluation === Number(place),
      tests[value("only")],
      sliceTest(),
      scoreTest(),
      (row) => wanted === "" || searchable(row).includes(wanted),
    ];
    return data.rows.filter((row) => kept.every((test) => test(row)));
  }

  // Rows without a value come last in both directions.
  function sorted(rows) {
    const column = columns().find((each) => each.id === state.sort);
    if (!column) return rows;
    const turn = state.descending ? -1 : 1;
    return rows.map((row) => [column.key(row), row]).sort(([a, one], [b, other]) => {
      if (a === b) return one.at - other.at;
      if (a === null || b === null) return a === null ? 1 : -1;
      return a < b ? -turn : turn;
    }).map(([, row]) => row);
  }

  function update() {
    visible = sorted(filter());
    state.page = 0;
    drawHead();
    drawBody();
  }

  function drawHead() {
    const focused = document.activeElement?.dataset?.column;
    find("head").replaceChildren(...columns().map((column) => {
      const button = element("button", { type: "button", textContent: column.title });
      button.dataset.column = column.id;
      button.addEventListener("click", () => sortBy(column.id));
      const head = element("th", { scope: "col", className: column.numeric ? "number" : "" }, button);
      const direction = state.descending ? "descending" : "ascending";
      head.setAttribute("aria-sort", column.id === state.sort ? direction : "none");
      return head;
    }));
    if (focused !== undefined) {
      [...find("head").querySelectorAll("button")].find((b) => b.dataset.column === focused)?.focus();
    }
  }

  function sortBy(id) {
    state.descending = state.sort === id && !state.descending;
    state.sort = id;
    update();
  }

  function drawBody() {
    const first = state.page * PAGE;
    const rows = visible.slice(first, first + PAGE);
    find("body").replaceChildren(...rows.flatMap(drawRow));
    const count = visible.length.toLocaleString("en");
    const total = data.rows.length.toLocaleString("en");
    find("shown").textContent = visible.length === 0 ? `No row of ${total} is like that.`
      : `Rows ${(first + 1).toLocaleString("en")} to ${(first + rows.length).toLocaleString("en")} of ${count}, out of ${total}.`;
    const pages = Math.max(1, Math.ceil(visible.length / PAGE));
    find("page").textContent = `page ${state.page + 1} of ${pages}`;
    find("previous").disabled = state.page === 0;
    find("next").disabled = state.page >= pages - 1;
  }

  function drawRow(row) {
    const isOpen = state.open.has(row);
    const [, ...others] = columns();
    const button = element("button", { type: "button", className: "open", textContent: short(row.id, SHORT_ID) });
    button.setAttribute("aria-expanded", String(isOpen));
    const drawn = element("tr", {}, element("th", { scope: "row" }, button), ...others.map((column) => {
      if (column.numeric) return element("td", { className: "number", textContent: column.cell(row) });
      const isBad = column.id === "output" && row.errors !== undefined;
      const text = isBad ? `error: ${short(row.errors)}` : column.cell(row);
      return element("td", {}, element("div", { className: isBad ? "clip bad" : "clip", textContent: text }));
    }));
    button.addEventListener("click", () => toggle(row, drawn, button));
    return isOpen ? [drawn, drawDetail(row)] : [drawn];
  }

  function toggle(row, drawn, button) {
    const opens = !state.open.delete(row);
    button.setAttribute("aria-expanded", String(opens));
    if (opens) {
      state.open.add(row);
      drawn.after(drawDetail(row));
    } else {
      drawn.nextSibling.remove();
    }
  }

  function scoreLines(row) {
    return data.evaluations[row.evaluation].metrics.map((metric, place) => {
      const before = row.before?.scores[place];
      const now = number(row.scores[place]) || "none";
      return before === undefined || before === null ? `${metric.name}  ${now}`
        : `${metric.name}  ${number(before)} → ${now}`;
    }).join("\n");
  }

  function drawDetail(row) {
    const stored = row.stored_at && new Date(1000 * row.stored_at).toISOString();
    const facts = [
      ["row", row.id], ["input", row.input], ["context", row.context], ["expected", row.expected],
      ["baseline's output", row.before?.output], ["output", row.output],
      ["errors", row.errors], ["scores", scoreLines(row)], ["columns", row.columns],
      ["latency ms", row.latency_ms?.toFixed(1)], ["waited ms", row.queue_ms?.toFixed(1)],
      ["attempts", row.attempts], ["prompt tokens", row.prompt_tokens],
      ["output tokens", row.output_tokens], ["US dollars", row.cost_usd], ["stored at", stored],
    ];
    const known = facts.filter(([, text]) => text !== undefined && text !== "");
    const list = element("dl", {}, ...known.flatMap(([name, text]) => [
      element("dt", { textContent: name }),
      element("dd", {}, element("pre", { textContent: text })),
    ]));
    return element("tr", { className: "detail" }, element("td", { colSpan: columns().length }, list));
  }

  const options = (pairs) => pairs.map(([text, choice]) => new Option(text, choice));

  function fillMetrics() {
    const kept = value("metric");
    find("metric").replaceChildren(...options(metricNames().map((name) => [name, name])));
    if (metricNames().includes(kept)) find("metric").value = kept;
    const slices = chosen().flatMap((evaluation) => evaluation.columns.flatMap((column) =>
      column.values.map((each) => JSON.stringify([column.name, each]))));
    find("slice").replaceChildren(new Option("all", ""), ...options(
      unique(slices).map((slice) => [JSON.parse(slice).join(" = "), slice])));
  }

  function clear(evaluation) {
    controls.reset();
    find("evaluation").value = evaluation;
    fillMetrics();
    state.sort = null;
    state.descending = false;
  }

  function show(button) {
    clear(button.dataset.evaluation);
    const metric = button.dataset.metric;
    find("metric").value = metricNames().includes(metric) ? metric : value("metric");
    const isChange = button.dataset.sort === "change";
    find("only").value = isChange ? "changed" : "all";
    state.sort = isChange ? "change" : `score ${value("metric")}`;
    const evaluation = data.evaluations[Number(button.dataset.evaluation)];
    const shown = evaluation.metrics.find((each) => each.name === value("metric"));
    state.descending = !isChange && shown?.higher === false;
    update();
    find("rows").scrollIntoView();
    find("table").focus({ preventScroll: true });
  }

  function start() {
    const names = data.evaluations.map((evaluation, at) => [`${evaluation.number}: ${evaluation.name}`, at]);
    find("evaluation").replaceChildren(new Option("all", ""), ...options(names));
    clear("0");
    if (!data.evaluations.some((evaluation) => evaluation.compared)) {
      [...find("only").options].slice(2).forEach((option) => option.remove());
    }
    controls.addEventListener("input", (event) => { if (event.target.matches("input")) update(); });
    controls.addEventListener("change", (event) => {
      if (!event.target.matches("select")) return;
      if (event.target.id === "evaluation") fillMetrics();
      update();
    });
    controls.addEventListener("submit", (event) => event.preventDefault());
    find("clear").addEventListener("click", () => { clear("0"); update(); });
    find("previous").addEventListener("click", () => { state.page -= 1; drawBody(); });
    find("next").addEventListener("click", () => { state.page += 1; drawBody(); });
    for (const button of document.querySelectorAll("button.show")) {
      button.hidden = false;
      button.addEventListener("click", () => show(button));
    }
    for (const id of ["controls", "table", "pages"]) find(id).hidden = false;
    update();
  }

  start();
})();
