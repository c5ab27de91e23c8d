// Drawing: lines by columns of pixels, so that a day costs no more than an hour.
const LANE = 15, STRIP = 6, CAPACITY = 13;
let colors = {};

const COLORS = ["text", "soft", "edge", "grid", "card", "assigned", "running", "desired", "service", "error", "anomaly",
  "info", "raise", "lower", "opening", "standby", "open", "none", "failing", "down", "accent"];

function readColors() {
  const style = getComputedStyle(document.documentElement);
  colors = Object.fromEntries(COLORS.map((name) => [name, style.getPropertyValue("--" + name).trim()]));
  colors.in_service = colors.service;
}

// A canvas's context at the screen's own resolution, cleared.
function prepare(canvas) {
  const { width, height } = canvas.parentElement.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "11px system-ui, sans-serif";
  return { context, width, height };
}

// The corners of a step line between two times: for each column of pixels its first, least, greatest and last value.
function trace(line, width, from, to, emit) {
  const { t, v } = line;
  const scale = width / (to - from);
  let i = after(t, from);
  let value = i > 0 ? v[i - 1] : null;
  if (value !== null) emit(0, value);
  while (i < t.length && t[i] <= to) {
    const column = Math.floor((t[i] - from) * scale);
    let least = Infinity, greatest = -Infinity;
    const first = value;
    while (i < t.length && t[i] <= to && Math.floor((t[i] - from) * scale) === column) {
      value = v[i++];
      if (value < least) least = value;
      if (value > greatest) greatest = value;
    }
    const x = column + 0.5;
    if (first !== null) emit(x, first);
    if (least < value) emit(x, least);
    if (greatest > value) emit(x, greatest);
    emit(x, value);
  }
  if (value !== null) emit(width, value);
}

function peak(line, from, to) {
  let most = 0;
  const start = Math.max(0, after(line.t, from) - 1);
  for (let i = start; i < line.t.length && line.t[i] <= to; i++) if (line.v[i] > most) most = line.v[i];
  return most;
}

function niceTop(most) {
  if (most <= 4) return Math.max(2, most);
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((n) => n * power).find((n) => n >= most);
}

const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800].map((s) => s * 1000);

function ticks(from, to, most) {
  const step = TICKS.find((step) => (to - from) / step <= most) ?? TICKS[TICKS.length - 1] * Math.ceil((to - from) / TICKS[TICKS.length - 1] / most);
  const base = raw.about.from_ms;
  const found = [];
  for (let t = Math.ceil((from + base) / step) * step - base; t <= to; t += step) found.push(t);
  return { step, found };
}

function grid(context, width, top, bottom) {
  context.strokeStyle = colors.grid;
  context.lineWidth = 1;
  context.beginPath();
  for (const t of ticks(view.from, view.to, width / 90).found) {
    const x = Math.round(xOf(t, width)) + 0.5;
    context.moveTo(x, top);
    context.lineTo(x, bottom);
  }
  context.stroke();
}

function fillBands(context, set, width, top, height, paint) {
  for (let i = 0; i < set.from.length; i++) {
    if (set.from[i] > view.to || set.from[i] + set.len[i] < view.from) continue;
    const x = Math.max(0, xOf(set.from[i], width)), end = Math.min(width, xOf(set.from[i] + set.len[i], width));
    context.fillStyle = paint(raw.texts[set.what[i]]);
    context.fillRect(x, top, Math.max(1, end - x), height);
    if (paint.stripes) stripes(context, x, top, Math.max(1, end - x), height);
  }
}

function stripes(context, x, y, width, height) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = colors.soft;
  context.globalAlpha = 0.35;
  context.beginPath();
  for (let at = x - height - 9; at < x + width + 9; at += 9) {
    context.moveTo(at, y + height);
    context.lineTo(at + height, y);
  }
  context.stroke();
  context.restore();
}

function drawLines(context, lines, width, top, bottom, most, keys) {
  const y = (value) => bottom - value / most * (bottom - top);
  for (const key of keys) {
    const isArea = key === "in_service" || key === "running";
    let last = null;
    context.beginPath();
    trace(lines[key], width, view.from, view.to, (x, value) => {
      if (last === null) context.moveTo(x, isArea ? y(0) : y(value));
      if (last === null && isArea) context.lineTo(x, y(value));
      if (last !== null) context.lineTo(x, y(last.value));
      context.lineTo(x, y(value));
      last = { x, value };
    });
    if (last === null) continue;
    if (isArea) {
      context.lineTo(last.x, y(0));
      context.globalAlpha = key === "running" ? 0.42 : 0.26;
      context.fillStyle = colors[key];
      context.fill();
      context.globalAlpha = 1;
      continue;
    }
    context.strokeStyle = colors[key];
    context.lineWidth = key === "assigned" ? 1.6 : 1.4;
    context.setLineDash(key === "desired" ? [5, 3] : []);
    context.lineJoin = "round";
    context.stroke();
    context.setLineDash([]);
  }
}

// A marker's shape says what it is without its colour.
function shape(context, name, x, y, size) {
  context.beginPath();
  if (name === "raise") { context.moveTo(x, y - size); context.lineTo(x + size, y + size * 0.8); context.lineTo(x - size, y + size * 0.8); }
  else if (name === "lower") { context.moveTo(x, y + size); context.lineTo(x + size, y - size * 0.8); context.lineTo(x - size, y - size * 0.8); }
  else if (name === "error") { context.moveTo(x, y - size * 1.25); context.lineTo(x + size * 1.25, y); context.lineTo(x, y + size * 1.25); context.lineTo(x - size * 1.25, y); }
  else context.arc(x, y, size * (name === "info" ? 0.7 : 0.95), 0, 7);
  context.closePath();
  if (name === "info") { context.lineWidth = 1.3; context.strokeStyle = colors.info; context.stroke(); return; }
  context.fillStyle = colors[name];
  context.fill();
}

const isCapacity = (name) => name === "raise" || name === "lower";

function drawMarkers(context, row, width, lane, capacity) {
  const found = markersIn(row, view.from, view.to);
  const dense = found.filter((i) => isCapacity(CLASSES[row.markers.class[i]])).length * 9 > width;
  const drawn = new Set();
  // Errors last, so that they lie on top.
  for (const name of ["info", "raise", "lower", "anomaly", "error"]) {
    for (const i of found) {
      if (CLASSES[row.markers.class[i]] !== name) continue;
      const x = xOf(row.markers.t[i], width);
      const place = name + Math.round(x);
      if (drawn.has(place)) continue;
      drawn.add(place);
      if (!isCapacity(name)) shape(context, name, x, lane, 4);
      else if (dense) {
        context.fillStyle = colors[name];
        context.fillRect(Math.round(x), name === "raise" ? capacity - 6 : capacity + 1, 1, 5);
      } else shape(context, name, x, name === "raise" ? capacity - 0.5 : capacity, 4);
    }
  }
  row.drawn = found.length;
  if (view.row === row && view.picked >= 0) {
    const x = xOf(row.markers.t[view.picked], width);
    const y = isCapacity(CLASSES[row.markers.class[view.picked]]) ? capacity : lane;
    context.strokeStyle = colors.accent;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(x, y, 7, 0, 7);
    context.stroke();
    context.globalAlpha = 0.5;
    context.fillStyle = colors.accent;
    context.fillRect(x - 0.5, 0, 1, 1000);
    context.globalAlpha = 1;
  }
}

const SESSION = (state) => colors[state === "closing" ? "opening" : state] ?? colors.none;
const FAILING = () => colors.failing;
const DOWN = () => colors.down;
DOWN.stripes = true;

function drawPool(row) {
  const { pool } = row;
  const { context, width, height } = prepare(row.canvas);
  const top = LANE + 6, bottom = height - STRIP - CAPACITY - 5;
  grid(context, width, LANE, bottom);
  fillBands(context, pool.failing, width, LANE, bottom - LANE, FAILING);
  fillBands(context, daemon.down, width, 0, height, DOWN);
  const most = niceTop(Math.max(...LINES.map(({ key }) => peak(pool.lines[key], view.from, view.to))));
  context.strokeStyle = colors.edge;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(0, bottom + 0.5);
  context.lineTo(width, bottom + 0.5);
  context.stroke();
  drawLines(context, pool.lines, width, top, bottom, most, ["in_service", "running", "desired", "assigned"]);
  context.strokeStyle = colors.card;
  context.lineWidth = 4;
  context.strokeText(String(most), 3, top + 4);
  context.fillStyle = colors.soft;
  context.fillText(String(most), 3, top + 4);
  drawMarkers(context, row, width, LANE / 2 + 1, bottom + 4 + CAPACITY / 2);
  fillBands(context, pool.session, width, height - STRIP, STRIP, SESSION);
}

function drawDaemon(row) {
  const { context, width, height } = prepare(row.canvas);
  grid(context, width, LANE, height);
  const lanes = [["GitHub", daemon.github], ["AWS", daemon.aws]];
  const each = (height - LANE - 8) / lanes.length;
  lanes.forEach(([name, set], nth) => {
    const y = LANE + 4 + nth * each;
    context.fillStyle = colors.grid;
    context.fillRect(0, y + 3, width, each - 8);
    fillBands(context, set, width, y + 3, each - 8, () => colors.error);
    const text = name + (set.from.length ? ": failing at times" : ": answering");
    const size = context.measureText(text).width;
    context.fillStyle = colors.card;
    context.globalAlpha = 0.8;
    context.fillRect(4, y + 4, size + 8, each - 10);
    context.globalAlpha = 1;
    context.fillStyle = colors.soft;
    context.fillText(text, 8, y + each / 2 + 3);
  });
  fillBands(context, daemon.down, width, 0, height, DOWN);
  drawMarkers(context, row, width, LANE / 2 + 1, LANE / 2 + 1);
}

function drawAxis() {
  const { context, width } = prepare(byId("axis"));
  const { step, found } = ticks(view.from, view.to, width / 90);
  context.textAlign = "center";
  let shownDay = "";
  for (const t of found) {
    const x = xOf(t, width), half = 26;
    const label = clock(t, step < 60_000);
    const newDay = day(t) !== shownDay && (clock(t, false) === "00:00" || shownDay === "");
    shownDay = day(t);
    const text = newDay ? day(t).slice(5) + " " + label : label;
    const reach = newDay ? 36 : half;
    context.fillStyle = newDay ? colors.text : colors.soft;
    if (x > reach && x < width - reach) context.fillText(text, x, 16);
    else shownDay = newDay ? "" : shownDay;
    context.fillStyle = colors.edge;
    context.fillRect(Math.round(x), 19, 1, 5);
  }
}
