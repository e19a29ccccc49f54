"use strict";
// Charts by uPlot that are read by eye, by keyboard and by ear. All texts are drawn on
// the canvas or set as text.
const llmevalCharts = (() => {
  const HEIGHT = 300;
  const DRAGGED = 10;
  const CROWDED = 60;

  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function number(found) {
    if (found === null || found === undefined) return "-";
    if (Math.abs(found) >= 1000) return Math.round(found).toLocaleString("en");
    return found !== 0 && Math.abs(found) < 0.001 ? found.toPrecision(3) : String(Number(found.toFixed(4)));
  }

  const time = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");

  // Lines are {values, color, width, dash, stepped, dots}; a band lies between two of them.
  function series({ values, ...line }) {
    return {
      stroke: line.color ? ink(line.color) : "transparent",
      width: line.color ? line.width ?? 1.5 : 0,
      dash: line.dash,
      spanGaps: false,
      paths: line.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
      points: { show: Boolean(line.dots) && values.length <= 120, size: 5, fill: ink(line.color ?? "ink") },
    };
  }

  function axes() {
    const axis = { stroke: ink("quiet"), grid: { stroke: ink("line"), width: 1 }, ticks: { stroke: ink("line"), width: 1 } };
    const dates = (chart, marks, at, space, step) => marks.map((mark) => (step >= 86400 ? time(mark).slice(0, 10) : time(mark).slice(5)));
    return [{ ...axis, space: 90, values: dates }, { ...axis, size: 64, values: (chart, marks) => marks.map(number) }];
  }

  // A mark is {at, sign, text, color, dash}: a line from top to bottom with a label.
  function drawMarks(chart, marks) {
    const { ctx, bbox } = chart;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "left";
    const length = marks.length > CROWDED ? 10 * ratio : bbox.height;
    const free = {};
    for (const mark of marks) {
      const x = chart.valToPos(mark.at, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = ctx.fillStyle = ink(mark.color);
      ctx.setLineDash(mark.dash ? [4 * ratio, 4 * ratio] : []);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + length);
      ctx.globalAlpha = 0.45;
      ctx.stroke();
      ctx.globalAlpha = 1;
      const label = `${mark.sign} ${mark.text}`;
      const y = bbox.top + (mark.row + 1) * 13 * ratio;
      if (x >= (free[mark.row] ?? 0)) {
        ctx.fillText(label, x + 3 * ratio, y);
        free[mark.row] = x + ctx.measureText(label).width + 10 * ratio;
      }
    }
    ctx.restore();
  }

  function drawSigns(chart, xs, ys, signs) {
    const { ctx } = chart;
    ctx.save();
    ctx.font = `bold ${12 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    signs.forEach((sign, at) => {
      if (!sign || ys[at] === null) return;
      ctx.fillStyle = ink(sign.color);
      ctx.fillText(sign.text, chart.valToPos(xs[at], "x", true), chart.valToPos(ys[at], "y", true) - 6 * devicePixelRatio);
    });
    ctx.restore();
  }

  // Draws into a parent that arrow keys move over; says of a point what `told` returns.
  function draw(parent, { label, xs, lines, bands = [], marks = [], signs = [], told, heard, pick, range, height = HEIGHT }) {
    parent.chart?.destroy();
    parent.replaceChildren();
    const last = xs.length - 1;
    let place = null;
    let dragged = false;

    const tell = (at) => {
      place = at;
      const text = at === null || at === undefined ? "" : told(at);
      parent.setAttribute("aria-valuenow", (at ?? last) + 1);
      parent.setAttribute("aria-valuetext", text || `${xs.length} points`);
      if (heard) heard.textContent = text;
    };
    const chart = new uPlot({
      width: Math.max(parent.clientWidth, 200),
      height,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      legend: { show: false },
      cursor: { y: false, drag: { x: Boolean(range), y: false, setScale: false, dist: DRAGGED } },
      scales: { x: { time: true } },
      axes: axes(),
      series: [{}, ...lines.map(series)],
      bands: bands.map(({ upper, lower, color, alpha }) => ({ series: [upper + 1, lower + 1], fill: `color-mix(in srgb, ${ink(color)} ${alpha}%, transparent)` })),
      hooks: {
        draw: [(drawn) => { drawMarks(drawn, marks); drawSigns(drawn, xs, lines[0].values, signs); }],
        setCursor: [(moved) => tell(moved.cursor.idx ?? null)],
        setSelect: [(chosen) => {
          if (!range || chosen.select.width < DRAGGED) return;
          dragged = true;
          range(chosen.posToVal(chosen.select.left, "x"), chosen.posToVal(chosen.select.left + chosen.select.width, "x"));
        }],
      },
    }, [xs, ...lines.map((line) => line.values)], parent);
    parent.chart = chart;
    chart.over.addEventListener("mousedown", () => { dragged = false; });
    chart.over.addEventListener("click", () => { if (pick && !dragged && place !== null) pick(place); });

    Object.entries({ role: "slider", tabindex: 0, "aria-label": label, "aria-valuemin": 1, "aria-valuemax": Math.max(xs.length, 1) })
      .forEach(([name, value]) => parent.setAttribute(name, value));
    tell(null);
    parent.onkeydown = (event) => {
      const at = place ?? xs.length;
      const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 10, PageDown: at + 10, Home: 0, End: last };
      if (event.key === "Enter" && pick && place !== null) pick(place);
      else if (event.key in moves && last >= 0) {
        const next = Math.min(Math.max(moves[event.key], 0), last);
        chart.setCursor({ left: chart.valToPos(xs[next], "x"), top: 1 });
        tell(next);
      } else return;
      event.preventDefault();
    };
  }

  return { draw, number, time };
})();
