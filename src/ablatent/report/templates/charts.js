"use strict";
/* Interactive charts of a report: SVG that is drawn from the JSON in each <figure class="chart">.

{rows: names for the hint, or null; x: [{title, values, series: [{label, rows: indices in order}]}];
 y: [{title, values, half: halves of bars, or null, bars: what these are}]}; a value may be null. */
(() => {
const COLOURS = 8, MARKS = 4;
const el = (tag, attributes = {}, text = null) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  return node;
};
const shown = v => {
  const size = Math.abs(v);
  return v !== 0 && (size < 1e-3 || size >= 1e6) ? v.toExponential(2) : String(Number(v.toPrecision(5)));
};

/* Places of ticks between lo and hi: round numbers; of a log axis 1, 2, 5 of each decade, or the decades alone. */
const ticks = (lo, hi, log, count) => {
  const found = [];
  if (log) {
    const decades = Math.log10(hi / lo), steps = decades > 3 ? [1] : decades > 0.6 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
    for (let e = Math.floor(Math.log10(lo)); e <= Math.ceil(Math.log10(hi)); e++)
      for (const m of steps) { const v = m * 10 ** e; if (v >= lo && v <= hi) found.push(v); }
    if (found.length > 1) return found;
    found.length = 0;
  }
  const raw = (hi - lo) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 2.5, 5, 10].find(m => m * power >= raw) || 10);
  for (let v = Math.ceil(lo / step) * step; v <= hi + step * 1e-9; v += step) found.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return found;
};

class Chart {
  constructor(figure, number) {
    this.figure = figure;
    this.data = JSON.parse(figure.querySelector("script").textContent);
    this.svg = figure.querySelector("svg");
    this.tip = el("p", {class: "tip", role: "status"});
    this.legend = el("div", {class: "legend", role: "group", "aria-label": "lines; press to hide or show"});
    this.ix = this.iy = 0;
    this.log = {x: false, y: false};
    this.hidden = new Set();
    this.at = -1;
    const bar = el("div", {class: "controls"});
    this.choice(bar, `y${number}`, "show", this.data.y, n => { this.iy = n; });
    this.choice(bar, `x${number}`, "over", this.data.x, n => { this.ix = n; this.hidden.clear(); this.suit(); });
    this.buttons = {};
    for (const axis of ["x", "y"]) {
      const button = el("button", {type: "button", "aria-pressed": "false"}, `log ${axis}`);
      button.addEventListener("click", () => { this.log[axis] = !this.log[axis]; this.draw(); });
      bar.append(this.buttons[axis] = button);
    }
    figure.prepend(bar);
    figure.append(this.legend, this.tip);
    figure.hidden = false;
    for (const event of ["pointermove", "pointerdown"]) this.svg.addEventListener(event, e => this.point(e));
    this.svg.addEventListener("pointerleave", () => this.select(-1));
    this.svg.addEventListener("keydown", e => this.key(e));
    this.suit();
    this.draw();
    let width = this.svg.clientWidth;
    const again = () => { if (this.svg.clientWidth && this.svg.clientWidth !== width) { width = this.svg.clientWidth; this.draw(); } };
    addEventListener("resize", () => requestAnimationFrame(again));
  }

  /* A list of quantities to choose from; plain text where there is one alone. */
  choice(bar, id, name, options, chosen) {
    const label = el("label", {for: id}, `${name} `);
    if (options.length === 1) { bar.append(el("span", {}, `${name} ${options[0].title}`)); return; }
    const select = el("select", {id});
    options.forEach((option, n) => select.append(el("option", {value: n}, option.title)));
    select.addEventListener("change", () => { chosen(Number(select.value)); this.draw(); });
    label.append(select);
    bar.append(label);
  }

  /* Values that spread over a decade stand on a log axis from the start. */
  suit() {
    const values = this.data.x[this.ix].values.filter(v => v !== null);
    this.log.x = this.data.rows !== null && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) >= 8;
  }

  /* The points of all lines: {x, y, half, row, n: number of the line, label}. */
  points() {
    const x = this.data.x[this.ix], y = this.data.y[this.iy], found = [];
    x.series.forEach((line, n) => {
      for (const row of line.rows) {
        const [vx, vy] = [x.values[row], y.values[row]];
        if (vx === null || vy === null || (this.log.x && vx <= 0) || (this.log.y && vy <= 0)) continue;
        found.push({x: vx, y: vy, half: y.half ? y.half[row] : null, row, n, label: line.label});
      }
    });
    return found;
  }

  range(values, log) {
    let lo = Math.min(...values), hi = Math.max(...values);
    if (!Number.isFinite(lo)) return [log ? 0.1 : 0, 1];
    if (log) { const pad = Math.max((hi / lo) ** 0.05, 1.05); return [lo / pad, hi * pad]; }
    const pad = (hi - lo) * 0.06 || Math.abs(hi) * 0.1 || 1;
    return [lo - pad, hi + pad];
  }

  add(parent, tag, attributes, text = null) {
    const node = document.createElementNS(this.svg.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== null) node.textContent = text;
    parent.append(node);
    return node;
  }

  draw() {
    const x = this.data.x[this.ix], y = this.data.y[this.iy], all = this.points();
    const seen = all.filter(p => !this.hidden.has(p.n));
    const W = Math.max(300, Math.min(1000, this.svg.clientWidth || 760)), H = Math.max(250, Math.min(400, W * 0.5));
    const m = {left: 62, right: 14, top: 10, bottom: 42};
    const [x0, x1] = this.range(seen.map(p => p.x), this.log.x);
    const bars = seen.flatMap(p => p.half === null ? [p.y] : [p.y - p.half, p.y + p.half]).filter(v => !this.log.y || v > 0);
    const [y0, y1] = this.range(bars, this.log.y);
    const scale = (v, lo, hi, log) => log ? Math.log(v / lo) / Math.log(hi / lo) : (v - lo) / (hi - lo);
    const px = v => m.left + scale(v, x0, x1, this.log.x) * (W - m.left - m.right);
    const py = v => H - m.bottom - scale(v, y0, y1, this.log.y) * (H - m.top - m.bottom);
    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    const values = [...new Set(seen.map(p => p.x))].sort((a, b) => a - b);
    let last = -Infinity;
    for (const v of this.data.rows && values.length <= 8 ? values : ticks(x0, x1, this.log.x, W / 110)) {
      const at = px(v);
      this.add(this.svg, "line", {class: "grid", x1: at, x2: at, y1: m.top, y2: H - m.bottom});
      if (at - last < 36) continue;
      this.add(this.svg, "text", {x: at, y: H - m.bottom + 16, "text-anchor": "middle"}, shown(v));
      last = at;
    }
    for (const v of ticks(y0, y1, this.log.y, H / 60)) {
      this.add(this.svg, "line", {class: "grid", x1: m.left, x2: W - m.right, y1: py(v), y2: py(v)});
      this.add(this.svg, "text", {x: m.left - 6, y: py(v) + 4, "text-anchor": "end"}, shown(v));
    }
    this.add(this.svg, "text", {class: "name", x: (m.left + W - m.right) / 2, y: H - 8, "text-anchor": "middle"}, x.title);
    this.add(this.svg, "text", {class: "name", transform: `translate(13 ${(m.top + H - m.bottom) / 2}) rotate(-90)`, "text-anchor": "middle"}, y.title);
    x.series.forEach((line, n) => { if (!this.hidden.has(n)) this.line(seen.filter(p => p.n === n), n, px, py); });
    this.ring = this.add(this.svg, "circle", {class: "ring", r: 7, visibility: "hidden"});
    this.seen = seen.map(p => ({...p, px: px(p.x), py: py(p.y)}));
    this.select(-1);
    this.state(x.series);
  }

  line(points, n, px, py) {
    const group = this.add(this.svg, "g", {class: `line c${n % COLOURS} d${Math.floor(n / COLOURS) % MARKS}`});
    group.dataset.line = n;
    for (const part of this.parts(points, n))
      if (part.length > 1) this.add(group, "polyline", {points: part.map(p => `${px(p.x)},${py(p.y)}`).join(" ")});
    if (this.data.rows === null && points.length > 30) return;
    for (const p of points) {
      const [cx, cy] = [px(p.x), py(p.y)];
      if (p.half) {
        const low = this.log.y && p.y - p.half <= 0 ? p.y : p.y - p.half;
        this.add(group, "path", {class: "bar", d: `M${cx} ${py(low)}V${py(p.y + p.half)}`});
      }
      this.add(group, "path", {class: "mark", d: this.mark(cx, cy, Math.floor(n / COLOURS) % MARKS)});
    }
  }

  /* The runs of points without a job between them that has no value; curves have values at some steps alone. */
  parts(points, n) {
    if (this.data.rows === null) return [points];
    const at = new Map(points.map(p => [p.row, p])), parts = [[]];
    for (const row of this.data.x[this.ix].series[n].rows) {
      if (at.has(row)) parts.at(-1).push(at.get(row)); else parts.push([]);
    }
    return parts;
  }

  mark(x, y, kind) {
    return [`M${x - 4} ${y}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0`, `M${x - 4} ${y - 4}h8v8h-8z`, `M${x} ${y - 5}l5 9h-10z`, `M${x} ${y - 5}l5 5l-5 5l-5 -5z`][kind];
  }

  /* Buttons and legend as they are now. */
  state(series) {
    for (const axis of ["x", "y"]) this.buttons[axis].setAttribute("aria-pressed", this.log[axis]);
    const focus = [...this.legend.children].indexOf(document.activeElement);
    this.legend.replaceChildren(...series.map((line, n) => {
      const button = el("button", {type: "button", class: `c${n % COLOURS} d${Math.floor(n / COLOURS) % MARKS}`, "aria-pressed": !this.hidden.has(n)});
      button.append(el("i"), el("span", {}, line.label));
      button.addEventListener("click", () => { if (!this.hidden.delete(n)) this.hidden.add(n); this.draw(); });
      button.addEventListener("pointerenter", () => this.dim(n));
      button.addEventListener("pointerleave", () => this.dim(-1));
      return button;
    }));
    if (focus >= 0) this.legend.children[focus].focus();
  }

  dim(n) {
    for (const group of this.svg.querySelectorAll(".line")) group.classList.toggle("dim", n >= 0 && Number(group.dataset.line) !== n);
  }

  point(event) {
    const box = this.svg.getBoundingClientRect(), zoom = this.svg.viewBox.baseVal.width / box.width;
    const [x, y] = [(event.clientX - box.left) * zoom, (event.clientY - box.top) * zoom];
    let near = -1, least = 30 ** 2;
    this.seen.forEach((p, n) => { const d = (p.px - x) ** 2 + (p.py - y) ** 2; if (d < least) [near, least] = [n, d]; });
    this.select(near);
  }

  key(event) {
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key], count = this.seen.length;
    if (event.key === "Escape") this.select(-1);
    if (!step || !count) return;
    event.preventDefault();
    this.select(this.at < 0 ? (step > 0 ? 0 : count - 1) : (this.at + step + count) % count);
  }

  /* Show what a point is: the job, its place, its value. */
  select(n) {
    this.at = n;
    this.ring.setAttribute("visibility", n < 0 ? "hidden" : "visible");
    this.tip.replaceChildren(el("i", {}, "Point at a mark, or use the arrow keys, for the job and its value."));
    if (n < 0) return;
    this.tip.replaceChildren();
    const p = this.seen[n], x = this.data.x[this.ix], y = this.data.y[this.iy];
    this.ring.setAttribute("cx", p.px);
    this.ring.setAttribute("cy", p.py);
    const value = `${y.title} ${shown(p.y)}` + (p.half === null ? "" : ` ± ${shown(p.half)} (${y.bars})`);
    this.tip.append(el("b", {}, this.data.rows ? this.data.rows[p.row] : p.label), el("span", {}, `${value} · ${x.title} ${shown(p.x)}`));
  }
}

document.querySelectorAll("figure.chart").forEach((figure, n) => new Chart(figure, n));
document.querySelectorAll("details.static").forEach(details => { details.open = false; });
})();
