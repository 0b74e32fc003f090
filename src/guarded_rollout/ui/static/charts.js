// One small chart a gate: the candidate, stable and the limit over the window, times in UTC as in the logs. uPlot is vendored and global.
const SIDES = ["candidate", "stable"];
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Charts {
  constructor(address, now) {
    this.address = address;
    this.now = now;
    this.gates = new Map();
    this.drawn = new Map();
    this.cursor = "";
    this.turn = Promise.resolve();
    this.resize = new ResizeObserver((entries) => {
      for (const { target, contentRect } of entries) {
        const plot = this.drawn.get(target);
        if (plot && contentRect.width && plot.width !== Math.floor(contentRect.width)) {
          plot.setSize({ width: Math.floor(contentRect.width), height: plot.height });
        }
      }
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  // What was measured since the last time, or all of it where the server cannot tell.
  follow() {
    this.turn = this.turn.then(() => this.ask());
  }

  async ask() {
    try {
      const answer = await fetch(`${this.address}?since=${this.cursor}`);
      if (!answer.ok) return;
      const data = await answer.json();
      this.cursor = data.cursor;
      if (data.gates) this.gates = new Map(Object.entries(data.gates));
      for (const [gate, side, at, value] of data.dots ?? []) {
        const one = this.gates.get(gate);
        if (!one) { // its first point: all is asked for once more
          this.cursor = "";
          return;
        }
        one[side] ??= [[], []];
        one[side][0].push(at);
        one[side][1].push(value);
      }
      if (data.gates) this.redraw();
      else this.update();
    } catch { /* the next poll says that nobody answers */ }
  }

  redraw() {
    for (const [place, plot] of this.drawn) {
      this.resize.unobserve(place);
      plot.destroy();
    }
    this.drawn.clear();
    this.update();
  }

  update() {
    for (const place of document.querySelectorAll(".chart[data-gate]")) {
      const gate = this.gates.get(place.dataset.gate);
      const also = this.gates.get(place.dataset.also); // its lines are dotted
      if (gate) this.show(place, merged(gate, also), () => options(gate, also));
    }
    this.traffic();
  }

  // The share of the candidate over time, as the table beside it has it.
  traffic() {
    const place = document.querySelector(".chart[data-traffic]");
    const table = document.querySelector("table[data-shares]");
    if (!place || !table) return;
    const moves = JSON.parse(table.dataset.shares);
    const at = moves.map(([when]) => when).concat(this.now());
    const percents = moves.map(([, percent]) => percent);
    this.show(place, [at, percents.concat(percents.at(-1))], trafficOptions);
  }

  show(place, data, make) {
    const plot = this.drawn.get(place);
    if (plot) {
      plot.setData(data);
      return;
    }
    place.replaceChildren();
    const size = { width: Math.max(200, Math.floor(place.clientWidth)), height: place.clientHeight };
    this.drawn.set(place, new uPlot({ ...make(), ...size }, data, place));
    this.resize.observe(place);
  }
}

// Both sides on one axis of time. A line goes through where only the other side has a point (undefined), and has
// a gap where nothing was measured (null).
function merged(gate, also) {
  const [sides, others] = [gate, also].map((one) => (one ? SIDES.map((side) => one[side] ?? [[], []]) : []));
  return [...uPlot.join([...sides, limitLine(gate, sides), ...others])];
}

function limitLine(gate, sides) {
  const times = sides.flatMap(([at]) => (at.length ? [at[0], at.at(-1)] : []));
  if (!times.length || gate.limit == null) return [[], []];
  const ends = [Math.min(...times), Math.max(...times)];
  return ends[0] === ends[1] ? [[ends[0]], [gate.limit]] : [ends, [gate.limit, gate.limit]];
}

const two = (number) => String(number).padStart(2, "0");
const clock = (seconds) => {
  const at = new Date(seconds * 1000);
  return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
};
const precise = (seconds) => `${clock(seconds)}:${two(new Date(seconds * 1000).getUTCSeconds())}`;

function axes(unit) {
  const common = { stroke: colour("--muted"), grid: { stroke: colour("--edge"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  return [
    { ...common, size: 28, values: (_, splits, axis, space, step) => splits.map(step < 60 ? precise : clock), space: 80 },
    { ...common, size: 52, values: (_, splits) => splits.map((one) => `${+one.toPrecision(3)}${unit === "%" ? " %" : ""}`), space: 28 },
  ];
}

function options(gate, also) {
  return {
    legend: { show: false },
    cursor: { y: false, points: { size: 6 } },
    scales: { x: { time: true }, y: { range: (plot) => [Math.min(0, measured(plot, Math.min)), top(gate, measured(plot, Math.max))] } },
    axes: axes(gate.unit),
    hooks: { drawClear: [(plot) => band(plot, gate)], draw: [moved] },
    series: [
      {},
      { stroke: colour("--candidate"), width: 2, points: { show: false } },
      { stroke: colour("--stable"), width: 1.5, points: { show: false } },
      { stroke: colour("--bad"), width: 1.5, dash: [6, 4], spanGaps: true, points: { show: false } },
      ...(also ? SIDES.map((side) => ({ stroke: colour(`--${side}`), width: 1.5, dash: [2, 3], points: { show: false } })) : []),
    ],
  };
}

// The axis fits what was measured; the limit is drawn where it is not far above that.
const measured = (plot, pick) => pick(0, ...plot.data.slice(1, 3).flatMap((side) => side.filter((one) => one != null)));
function top(gate, high) {
  const near = gate.limit != null && gate.limit <= high * 3;
  return (near ? Math.max(high, gate.limit) : high) * 1.15 || (gate.unit === "%" ? 1 : 0.5);
}

// What is beyond the limit, as a band.
function band(plot, gate) {
  if (gate.limit == null || gate.limit >= plot.scales.y.max) return;
  const { left, top: above, width } = plot.bbox;
  plot.ctx.fillStyle = colour("--bad-ground");
  plot.ctx.fillRect(left, above, width, plot.valToPos(gate.limit, "y", true) - above);
}

// A mark where the candidate's share of the traffic changed.
function moved(plot) {
  const table = document.querySelector("table[data-shares]");
  const { left, top: above, width, height } = plot.bbox;
  for (const [when, percent] of table ? JSON.parse(table.dataset.shares) : []) {
    const x = plot.valToPos(when, "x", true);
    if (x < left || x > left + width || !percent) continue;
    plot.ctx.fillStyle = colour("--muted");
    plot.ctx.fillRect(x, above, 1, height);
    const late = x > left + width * 0.85;
    plot.ctx.textAlign = late ? "right" : "left";
    plot.ctx.fillText(`${percent} %`, x + (late ? -4 : 4), above + 12 * devicePixelRatio);
  }
}

function trafficOptions() {
  return {
    legend: { show: false },
    cursor: { y: false },
    scales: { x: { time: true }, y: { range: [0, 105] } },
    axes: axes("%"),
    series: [{}, { stroke: colour("--candidate"), fill: `${colour("--accent-ground")}`, width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }],
  };
}
