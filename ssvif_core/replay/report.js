// Draws PLOTS, whose lines name their x by a number of XS, and lets them be zoomed and saved.
const SVG = "http://www.w3.org/2000/svg";
const COLORS = 7;
const LANE = 22;
let zoom = null;  // [from, to] seconds that all plots over time show
let waiting = false;
const charts = [];
for (const plot of PLOTS) for (const line of plot.lines) line.x = XS[line.x];
// Where plots over time end: the last pair, or the second that it lies in.
const END = Math.max(1e-3, ...PLOTS.filter(p => p.kind !== "bars").flatMap(p => [
  ...p.lines.map(l => l.x[l.x.length - 1] + (p.kind === "steps" ? 1 : 0)),
  ...(p.lanes || []).flatMap(lane => lane.spans.map(s => s.to))]));

// What they are over: seconds, or numbers of pairs where nothing has a time.
const OVER = " " + ((PLOTS.find(p => p.kind !== "bars") || {}).x_unit || "s");

function element(name, attributes, parent) {
  const node = document.createElementNS(SVG, name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (parent) parent.appendChild(node);
  return node;
}

function make(name, text, parent) {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}

function ticks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1);
  const power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = [1, 2, 5, 10].map(f => f * power).find(s => s >= rough * 0.999);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
    found.push([i * step, (i * step).toFixed(digits)]);
  return found;
}

// Index of the first value that is not below x.
function place(values, x) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < x) low = middle + 1; else high = middle;
  }
  return low;
}

function save(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

// All plots over time show [from, to], or everything for null.
function show(span) {
  if (span) {
    const length = Math.min(END, Math.max(span[1] - span[0], END / 5000));
    const from = Math.min(Math.max(0, span[0]), END - length);
    span = length >= END ? null : [from, from + length];
  }
  zoom = span;
  const [from, to] = zoom || [0, END];
  document.getElementById("shown").textContent =
    from.toFixed(2) + OVER + " to " + to.toFixed(2) + OVER
    + (zoom ? " of " + END.toFixed(2) + OVER : "");
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; charts.forEach(c => c.overTime && c.draw()); });
}

function zoomBy(factor, about) {
  const [from, to] = zoom || [0, END];
  const middle = about === undefined ? (from + to) / 2 : about;
  show([middle - (middle - from) * factor, middle + (to - middle) * factor]);
}

function panBy(part) {
  if (!zoom) return;
  const step = (zoom[1] - zoom[0]) * part;
  show([zoom[0] + step, zoom[1] + step]);
}

class Chart {
  constructor(plot, parent) {
    this.plot = plot;
    this.overTime = plot.kind !== "bars";
    this.hidden = new Set();
    this.own = null;
    this.margin = { left: plot.wide ? 72 : 48, right: 10, top: 8, bottom: 22 };
    this.pauses = plot.lines.map(l => {
      const steps = l.x.slice(1).map((x, k) => x - l.x[k]).sort((a, b) => a - b);
      return 5 * (steps[steps.length >> 1] || 0);  // a line does not go on over a gap
    });
    this.box = make("div", "", parent);
    this.box.className = "plot" + (plot.wide ? " wide" : "") + (plot.small ? " small" : "");
    this.head();
    this.height = plot.lanes ? plot.lanes.length * LANE + 30 : plot.wide ? 210 : plot.small ? 150 : 190;
    this.svg = element("svg", { role: "img", tabindex: 0, "aria-label": plot.title }, this.box);
    this.tip = make("div", "", this.box);
    this.tip.className = "tip";
    this.tip.setAttribute("aria-live", "polite");
    this.listen();
  }

  head() {
    const title = make("div", "", this.box);
    title.className = "title";
    make("span", this.plot.title + (this.plot.unit ? " [" + this.plot.unit + "]" : ""), title);
    const button = make("button", "CSV", title);
    button.className = "small";
    button.setAttribute("aria-label", "save the figures of: " + this.plot.title);
    button.addEventListener("click", () => save("plot.csv", this.csv(), "text/csv"));
    const legend = make("div", "", this.box);
    legend.className = "legend";
    if (this.plot.note) legend.append(this.plot.note);
    if (this.plot.lines.length < 2) return;
    this.plot.lines.forEach((line, i) => {
      const button = make("button", "", legend);
      button.setAttribute("aria-pressed", "true");
      make("i", "", button).style.background = "var(--s" + i % COLORS + ")";
      button.append(line.name);
      button.addEventListener("click", () => {
        if (this.hidden.has(i)) this.hidden.delete(i); else this.hidden.add(i);
        button.setAttribute("aria-pressed", String(!this.hidden.has(i)));
        this.draw();
      });
    });
  }

  csv() {
    const rows = ["name,x [" + (this.plot.x_unit || "s") + "],y,low,high"];
    const quoted = text => '"' + text.replaceAll('"', '""') + '"';
    for (const line of this.plot.lines)
      line.y.forEach((y, k) => rows.push([quoted(line.name), line.x[k], y,
        line.low ? line.low[k] : y, line.high ? line.high[k] : y].join(",")));
    for (const lane of this.plot.lanes || [])
      for (const span of lane.spans)
        rows.push([quoted(lane.name + ": " + span.name), span.from, span.to, "", ""].join(","));
    return rows.join("\n") + "\n";
  }

  listen() {
    const on = (name, call, options) => this.svg.addEventListener(name, call, options);
    on("pointerdown", e => { this.from = this.at(e); this.svg.setPointerCapture(e.pointerId); });
    on("pointermove", e => this.move(e));
    on("pointerup", e => this.up(e));
    on("pointercancel", () => { this.from = undefined; this.selection.setAttribute("width", 0); });
    on("pointerleave", () => this.leave());
    on("blur", () => this.leave());
    on("dblclick", () => this.range(null));
    on("keydown", e => this.key(e));
    // A pinch on a touchpad comes as a wheel with Ctrl; an upright scroll belongs to the page.
    on("wheel", e => {
      if (!this.overTime) return;
      if (e.ctrlKey) zoomBy(Math.exp(e.deltaY * 0.01), this.back(this.at(e)));
      else if (zoom && Math.abs(e.deltaX) > Math.abs(e.deltaY))
        panBy(e.deltaX / (this.box.clientWidth || 1));
      else return;
      e.preventDefault();
    }, { passive: false });
  }

  key(event) {
    const sideways = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (sideways && event.shiftKey) panBy(0.2 * sideways);
    else if (sideways) this.step(sideways);
    else if (event.key === "+" || event.key === "=") zoomBy(0.5, this.read);
    else if (event.key === "-") zoomBy(2, this.read);
    else if (["0", "Escape", "Home"].includes(event.key)) this.range(null);
    else return;
    event.preventDefault();
  }

  // Read the next or the previous point of the first line that is shown.
  step(direction) {
    const { x: [from, to] } = this.extent();
    const line = this.plot.lines.find((_, i) => !this.hidden.has(i));
    let x = this.read === undefined || this.read < from || this.read > to ? from : this.read;
    if (this.read !== undefined && line) {
      const k = place(line.x, x + (direction > 0 ? 1e-6 : -1e-6)) + (direction > 0 ? 0 : -1);
      x = line.x[Math.min(Math.max(k, 0), line.y.length - 1)];
    } else if (this.read !== undefined) x += direction * (to - from) / 50;
    this.read = Math.min(Math.max(x, from), to);
    this.show(this.X(this.read));
  }

  leave() {
    this.tip.style.display = "none";
    this.cursor.setAttribute("visibility", "hidden");
  }

  range(span) {
    if (this.overTime) show(span);
    else { this.own = span; this.draw(); }
  }

  // Least and greatest x of everything, and y of what is shown.
  extent() {
    const lines = this.plot.lines;
    const all = this.overTime ? [0, END] : [lines[0].x[0], lines[0].x[lines[0].x.length - 1]];
    const shown = (this.overTime ? zoom : this.own) || all;
    let low = Infinity, high = -Infinity;
    lines.forEach((line, i) => {
      if (this.hidden.has(i)) return;
      const [from, to] = this.part(line, shown);
      for (let k = from; k < to; k++) {
        low = Math.min(low, line.low ? line.low[k] : line.y[k]);
        high = Math.max(high, line.high ? line.high[k] : line.y[k]);
      }
    });
    if (!(low <= high)) { low = 0; high = 1; }
    if (this.plot.zero || this.plot.kind) low = Math.min(low, 0);
    const pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return { x: shown, y: [low === 0 ? 0 : low - pad, high + pad] };
  }

  // Points within a range, and one more on both sides: the line goes on to them.
  part(line, [from, to]) {
    return [Math.max(0, place(line.x, from) - 1), Math.min(line.y.length, place(line.x, to) + 1)];
  }

  draw() {
    const width = this.box.clientWidth, height = this.height, m = this.margin;
    this.svg.setAttribute("viewBox", "0 0 " + width + " " + height);
    this.svg.setAttribute("height", height);
    this.svg.replaceChildren();
    const extent = this.extent();
    const inner = [Math.max(width - m.left - m.right, 1), height - m.top - m.bottom];
    this.X = x => m.left + inner[0] * (x - extent.x[0]) / (extent.x[1] - extent.x[0] || 1);
    this.Y = y => m.top + inner[1] * (1 - (y - extent.y[0]) / (extent.y[1] - extent.y[0] || 1));
    this.back = x => extent.x[0] + (x - m.left) / inner[0] * (extent.x[1] - extent.x[0]);
    this.axes(extent, width, height);
    const id = "clip" + charts.indexOf(this);
    const clip = element("clipPath", { id }, this.svg);
    element("rect", { x: m.left, y: m.top, width: inner[0], height: inner[1] }, clip);
    const body = element("g", { "clip-path": "url(#" + id + ")", class: "body" }, this.svg);
    if (this.plot.lanes) this.lanes(body);
    this.plot.lines.forEach((line, i) => {
      if (!this.hidden.has(i)) this.line(line, i, body, extent.x);
    });
    this.selection = element("rect", { y: m.top, height: inner[1], fill: "var(--accent)",
      opacity: 0.18, width: 0 }, this.svg);
    this.cursor = element("line", { y1: m.top, y2: m.top + inner[1], class: "cursor",
      visibility: "hidden" }, this.svg);
  }

  axes(extent, width, height) {
    const m = this.margin;
    const label = (x, y, anchor, text) =>
      element("text", { x, y, "text-anchor": anchor }, this.svg).textContent = text;
    if (!this.plot.lanes)
      for (const [y, text] of ticks(extent.y[0], extent.y[1], this.plot.small ? 4 : 5)) {
        element("line", { x1: m.left, x2: width - m.right, y1: this.Y(y), y2: this.Y(y),
          class: "grid" }, this.svg);
        label(m.left - 5, this.Y(y) + 4, "end", text);
      }
    const unit = this.plot.x_unit || "s";
    for (const [x, text] of ticks(extent.x[0], extent.x[1], width / 90)) {
      if (this.X(x) > width - m.right + 1) continue;
      element("line", { x1: this.X(x), x2: this.X(x), y1: height - m.bottom,
        y2: height - m.bottom + 4, class: "axis" }, this.svg);
      const last = this.X(x) > width - 30;
      label(last ? width - 2 : this.X(x), height - 6, last ? "end" : "middle", text + " " + unit);
    }
    element("line", { x1: m.left, x2: width - m.right, y1: height - m.bottom,
      y2: height - m.bottom, class: "axis" }, this.svg);
  }

  // A bar for each lane: whole where all is well, hatched or hollow where not.
  lanes(body) {
    this.hatches(body);
    this.plot.lanes.forEach((lane, i) => {
      const y = this.margin.top + i * LANE + 4, height = LANE - 8;
      element("text", { x: this.margin.left - 6, y: y + 11, "text-anchor": "end" }, this.svg)
        .textContent = lane.name;
      for (const span of lane.spans) {
        const x = this.X(span.from), width = Math.max(3, this.X(span.to) - x);
        if (span.kind !== "well")
          element("rect", { x, y, width, height, fill: "var(--page)" }, body);
        const fill = { well: "var(--lane)", frozen: "url(#rising)", alone: "url(#upright)",
          dropped: "url(#falling)", gone: "none" }[span.kind];
        element("rect", { x, y, width, height, fill,
          stroke: span.kind === "well" ? "none" : "var(--poor)" }, body);
      }
    });
  }

  hatches(body) {
    for (const [id, angle, color] of [["rising", 45, "--s1"], ["upright", 0, "--s3"],
      ["falling", -45, "--s5"]]) {
      const pattern = element("pattern", { id, width: 6, height: 6,
        patternUnits: "userSpaceOnUse", patternTransform: "rotate(" + angle + ")" }, body);
      element("rect", { width: 3, height: 6, fill: "var(" + color + ")" }, pattern);
    }
  }

  line(line, number, body, shown) {
    const color = "var(--s" + number % COLORS + ")";
    if (this.plot.kind === "bars") {
      line.y.forEach((count, k) => element("rect", { x: this.X(line.x[k]) + 0.5, y: this.Y(count),
        width: Math.max(0.5, this.X(line.x[k + 1]) - this.X(line.x[k]) - 1),
        height: this.Y(0) - this.Y(count), fill: color }, body));
      return;
    }
    const points = this.thinned(line, shown, this.pauses[number]);
    const steps = this.plot.kind === "steps" && points.every(p => p.n === 1);
    if (points.some(p => p.high > p.low)) this.range_of(points, color, body);
    const dots = this.plot.dots || (points.length < 60 && !this.plot.kind);
    let path = "", spots = "";
    for (const { x, y, first } of points) {
      path += (path && !first ? "L" : "M") + this.X(x).toFixed(2) + " " + this.Y(y).toFixed(2);
      if (steps) path += "H" + this.X(x + 1).toFixed(2);
      spots += "M" + this.X(x).toFixed(2) + " " + this.Y(y).toFixed(2) + "h0";
    }
    const common = { fill: "none", stroke: color, "stroke-linejoin": "round" };
    if (!this.plot.dots) element("path", { d: path, "stroke-width": 1.5, ...common }, body);
    if (dots)
      element("path", { d: spots, "stroke-width": 3.6, "stroke-linecap": "round", ...common }, body);
  }

  range_of(points, color, body) {
    const X = p => this.X(p.x).toFixed(2) + "," ;
    const edge = points.map(p => X(p) + this.Y(p.high).toFixed(2));
    for (const p of points.slice().reverse()) edge.push(X(p) + this.Y(p.low).toFixed(2));
    element("polygon", { points: edge.join(" "), fill: color, opacity: 0.2 }, body);
  }

  // The points that are shown; where they crowd, the mean and the range of each pixel column.
  // `first`: after a pause, over which the line does not go on.
  thinned(line, shown, pause) {
    const [from, to] = this.part(line, shown), points = [];
    const crowded = to - from > 2 * this.box.clientWidth;
    let column = null, last = null;
    for (let k = from; k < to; k++) {
      const x = line.x[k], y = line.y[k];
      const low = line.low ? line.low[k] : y, high = line.high ? line.high[k] : y;
      const at = Math.floor(this.X(x));
      if (crowded && at === column) {
        last.n++;
        last.y += (y - last.y) / last.n;
        last.low = Math.min(last.low, low);
        last.high = Math.max(last.high, high);
        continue;
      }
      column = at;
      const first = k > from && !this.plot.kind && x - line.x[k - 1] > pause;
      last = { x, y, low, high, n: 1, first };
      points.push(last);
    }
    return points;
  }

  at(event) {
    const box = this.svg.getBoundingClientRect();
    return Math.min(Math.max(event.clientX - box.left, this.margin.left),
      box.width - this.margin.right);
  }

  move(event) {
    const pixel = this.at(event);
    if (this.from !== undefined) {
      this.selection.setAttribute("x", Math.min(this.from, pixel));
      this.selection.setAttribute("width", Math.abs(pixel - this.from));
    }
    this.show(pixel);
  }

  up(event) {
    const from = this.from, to = this.at(event);
    this.from = undefined;
    this.selection.setAttribute("width", 0);
    if (from !== undefined && Math.abs(to - from) > 5)
      this.range([this.back(Math.min(from, to)), this.back(Math.max(from, to))]);
  }

  // What there is at x: rows of text, and the x of the nearest point.
  values(x) {
    const rows = [], flat = this.plot.kind !== undefined;
    let near = x;
    this.plot.lines.forEach((line, i) => {
      if (this.hidden.has(i)) return;
      let k = place(line.x, x);
      if (flat) k = k < line.x.length && line.x[k] === x ? k : k - 1;
      else if (k > 0 && (k === line.x.length || x - line.x[k - 1] < line.x[k] - x)) k--;
      if (k < 0 || k >= line.y.length) return;
      if (!rows.length) near = line.x[k];
      const range = line.low ? " (" + line.low[k] + " to " + line.high[k] + ")" : "";
      rows.push(line.name + " " + line.y[k] + range);
    });
    for (const lane of this.plot.lanes || [])
      for (const span of lane.spans)
        if (span.kind !== "well" && x >= span.from && x <= span.to)
          rows.push(lane.name + ": " + span.name);
    if (this.plot.lanes && !rows.length) rows.push("nothing wrong");
    return { rows, near };
  }

  show(pixel) {
    const { rows, near } = this.values(this.back(pixel));
    if (!rows.length) return;
    const where = this.plot.kind === undefined ? this.X(near) : pixel;
    for (const end of ["x1", "x2"]) this.cursor.setAttribute(end, where);
    this.cursor.setAttribute("visibility", "visible");
    this.tip.replaceChildren();
    const unit = this.plot.x_unit || "s";
    for (const row of [near.toFixed(this.overTime ? 3 : 2) + " " + unit, ...rows])
      this.tip.append(row, document.createElement("br"));
    this.tip.style.display = "block";
    const left = where > this.box.clientWidth / 2;
    this.tip.style.left = left ? "" : where + 8 + "px";
    this.tip.style.right = left ? this.box.clientWidth - where + 8 + "px" : "";
    const top = this.svg.getBoundingClientRect().top - this.box.getBoundingClientRect().top;
    this.tip.style.top = top + 10 + "px";
  }
}

const parent = document.getElementById("plots");
for (const plot of PLOTS) charts.push(new Chart(plot, parent));
const drawAll = () => charts.forEach(c => c.draw());
drawAll();
show(null);
window.addEventListener("resize", drawAll);
document.getElementById("reset").addEventListener("click", () => {
  charts.forEach(c => { if (c.own) { c.own = null; c.draw(); } });
  show(null);
});
for (const button of document.querySelectorAll("[data-zoom]"))
  button.addEventListener("click", () => zoomBy(Number(button.dataset.zoom)));
for (const button of document.querySelectorAll("[data-pan]"))
  button.addEventListener("click", () => panBy(Number(button.dataset.pan)));
for (const button of document.querySelectorAll("[data-from]"))
  button.addEventListener("click", () => {
    const from = Number(button.dataset.from), to = Number(button.dataset.to);
    const around = Math.max(1, to - from);
    show([from - around, to + around]);
    document.getElementById("plotted").scrollIntoView();
  });
document.getElementById("save").addEventListener("click", event =>
  save(event.target.dataset.name, document.getElementById("summary").textContent, "application/json"));
