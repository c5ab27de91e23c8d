// Everything that is done once, and everything that answers a hand.
let frame = 0;

function redraw() {
  for (const row of rows) row.dirty = true;
  if (!frame) frame = requestAnimationFrame(draw);
}

// Rows out of sight are drawn when they come into it.
const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) target.row.visible = isIntersecting;
  if (!frame) frame = requestAnimationFrame(draw);
}, { rootMargin: "400px" });

function draw(everything) {
  frame = 0;
  for (const row of rows) {
    const wanted = everything === true || row.visible;
    if (!row.dirty || !wanted || !row.element.isConnected) continue;
    if (row.pool) drawPool(row);
    else drawDaemon(row);
    row.dirty = false;
  }
  drawAxis();
  drawOverview();
  showValues(view.hover ?? null);
}

// All pools together, added up once for each width.
const total = { width: 0 };

function addUp(width) {
  const columns = Math.max(1, Math.floor(width));
  if (total.width === columns) return;
  const sum = (key) => {
    const out = new Float64Array(columns);
    for (const { lines } of pools) {
      const { t, v } = lines[key];
      let i = 0;
      for (let x = 0; x < columns; x++) {
        let most = i > 0 ? v[i - 1] : 0;
        const end = (x + 1) / columns * SPAN;
        while (i < t.length && t[i] < end) most = Math.max(most, v[i++]);
        out[x] += most;
      }
    }
    return out;
  };
  Object.assign(total, { width: columns, assigned: sum("assigned"), in_service: sum("in_service") });
}

function drawOverview() {
  const { context, width, height } = prepare(byId("overview").firstElementChild);
  addUp(width);
  const most = Math.max(1, ...total.assigned, ...total.in_service);
  for (const key of ["in_service", "assigned"]) {
    context.beginPath();
    context.moveTo(0, height);
    total[key].forEach((value, x) => context.lineTo(x, height - value / most * (height - 6)));
    if (key === "assigned") { context.strokeStyle = colors.assigned; context.stroke(); continue; }
    context.lineTo(width, height);
    context.globalAlpha = 0.4;
    context.fillStyle = colors.service;
    context.fill();
    context.globalAlpha = 1;
  }
  const place = (set, color) => {
    context.fillStyle = color;
    for (let i = 0; i < set.from.length; i++) context.fillRect(set.from[i] / SPAN * width, 0, Math.max(2, set.len[i] / SPAN * width), 4);
  };
  place(daemon.github, colors.error);
  place(daemon.aws, colors.error);
  place(daemon.down, colors.soft);
  const pane = byId("window");
  pane.style.left = view.from / SPAN * 100 + "%";
  pane.style.width = (view.to - view.from) / SPAN * 100 + "%";
  const sameDay = day(view.from) === day(view.to);
  byId("range").textContent = day(view.from).slice(5) + " " + clock(view.from, view.to - view.from < 600_000) + " – "
    + (sameDay ? "" : day(view.to).slice(5) + " ") + clock(view.to, view.to - view.from < 600_000);
}

function showValues(t) {
  const x = t === null ? null : xOf(t, rows[0].plot.clientWidth);
  const [cross, now] = [byId("cross"), byId("now")];
  cross.hidden = now.hidden = t === null;
  if (t !== null) {
    cross.style.left = rows[0].plot.offsetLeft + x + "px";
    now.style.left = Math.min(Math.max(x, 34), rows[0].plot.clientWidth - 34) + "px";
    now.textContent = clock(t);
  }
  for (const row of rows) {
    if (!row.pool || !row.visible) continue;
    row.cells ??= LINES.map(({ key, name }) => {
      const cell = element("b", { title: name, style: "color:var(--" + (key === "in_service" ? "service" : key) + ")" });
      row.values.append(cell);
      return cell;
    });
    LINES.forEach(({ key }, nth) => {
      const value = valueAt(row.pool.lines[key], t ?? view.to);
      row.cells[nth].textContent = MARKS[key] + " " + (value ?? "–");
    });
  }
}

const MARKS = { in_service: "▒", running: "█", assigned: "━", desired: "┅" };

// The markers near a place in a row, the nearest first.
function near(row, x, y) {
  const width = row.plot.clientWidth;
  const reach = 7;
  const found = markersIn(row, timeAt(x - reach, width), timeAt(x + reach, width));
  const low = y > row.plot.clientHeight - STRIP - CAPACITY - 10;
  const lane = (i) => isCapacity(CLASSES[row.markers.class[i]]) === low ? 0 : 1;
  const far = (i) => Math.abs(xOf(row.markers.t[i], width) - x);
  const inLane = row.pool && (low || y < LANE + 4) ? found.filter((i) => lane(i) === 0) : found;
  return inLane.sort((a, b) => far(a) - far(b) || a - b);
}

function rowAt(event) {
  const plot = event.target.closest?.("#pools .plot");
  return plot ? plot.parentElement.row : null;
}

function placeIn(row, event) {
  const box = row.plot.getBoundingClientRect();
  return { x: Math.min(Math.max(event.clientX - box.left, 0), box.width), y: event.clientY - box.top, width: box.width };
}

let drag = null;

function pointerMoved(event) {
  const row = drag?.row ?? rowAt(event);
  if (!row) return leave();
  const { x, y, width } = placeIn(row, event);
  view.hover = timeAt(x, width);
  showValues(view.hover);
  const brush = byId("brush");
  if (drag && Math.abs(x - drag.x) > 4) {
    drag.moved = true;
    brush.hidden = false;
    brush.style.left = row.plot.offsetLeft + Math.min(x, drag.x) + "px";
    brush.style.width = Math.abs(x - drag.x) + "px";
  }
  const found = drag?.moved ? [] : near(row, x, y);
  const tip = byId("tip");
  tip.hidden = found.length === 0;
  row.plot.style.cursor = found.length ? "pointer" : "";
  if (found.length === 0) return;
  const more = found.length > 1 ? " (and " + (found.length - 1) + " more)" : "";
  tip.textContent = clock(row.markers.t[found[0]]) + "  " + words(row.markers, found[0]).text + more;
  tip.style.left = Math.min(event.clientX + 12, innerWidth - Math.min(392, tip.offsetWidth + 12)) + "px";
  tip.style.top = Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8) + "px";
}

function leave() {
  view.hover = null;
  byId("tip").hidden = true;
  showValues(null);
}

function pointerDown(event) {
  const row = rowAt(event);
  if (!row || event.button !== 0) return;
  const { x, width } = placeIn(row, event);
  drag = { row, x, from: timeAt(x, width), moved: false };
}

function pointerUp(event) {
  if (!drag) return;
  const { row, from, moved } = drag;
  drag = null;
  byId("brush").hidden = true;
  const { x, y, width } = placeIn(row, event);
  if (moved) {
    const to = timeAt(x, width);
    return show(Math.min(from, to), Math.max(from, to));
  }
  const found = near(row, x, y);
  if (found.length) openPanel(row, found[0], found);
}

function wheel(event) {
  const row = rowAt(event);
  if (!row) return;
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    const { x, width } = placeIn(row, event);
    zoom(Math.exp(event.deltaY / 300), timeAt(x, width));
  } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    event.preventDefault();
    pan(event.deltaX / row.plot.clientWidth);
  }
}

// The overview chooses the time: a drag on its window moves it, elsewhere it draws a new one.
function chooseTime(down) {
  const box = byId("overview").getBoundingClientRect();
  const at = (event) => Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * SPAN;
  const start = at(down), { from, to } = view;
  const moves = start > from && start < to && to - from < SPAN * 0.98;
  const move = (event) => moves ? show(from + at(event) - start, to + at(event) - start) : show(Math.min(start, at(event)), Math.max(start, at(event)));
  const up = (event) => {
    removeEventListener("pointermove", move);
    if (!moves && Math.abs(event.clientX - down.clientX) < 4) show(from, to);
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", up, { once: true });
}

const KEYS = {
  "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => show(0, SPAN),
  "[": () => pan(-0.4), "]": () => pan(0.4), Escape: closePanel, "/": () => byId("search").focus(),
};

function keyPressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, select");
  if (typing && event.key !== "Escape") return;
  const row = event.target.closest(".row")?.row ?? (panel.contains(event.target) ? view.row : null) ?? null;
  if (row && event.key === "ArrowRight") walk(row, 1);
  else if (row && event.key === "ArrowLeft") walk(row, -1);
  else if (row && event.key === "Enter" && event.target === row.element) view.row === row ? panel.focus() : walk(row, 1);
  else if (event.key in KEYS) KEYS[event.key]();
  else return;
  event.preventDefault();
}

function listen() {
  list.addEventListener("pointermove", pointerMoved);
  list.addEventListener("pointerleave", () => drag || leave());
  list.addEventListener("pointerdown", pointerDown);
  addEventListener("pointerup", pointerUp);
  list.addEventListener("dblclick", () => show(0, SPAN));
  list.addEventListener("wheel", wheel, { passive: false });
  byId("overview").addEventListener("pointerdown", chooseTime);
  addEventListener("keydown", keyPressed);
  byId("search").addEventListener("input", (event) => { view.search = event.target.value; arrange(); });
  byId("sort").addEventListener("change", (event) => { view.sort = event.target.value; arrange(); });
  const buttons = { in: () => zoom(0.5), out: () => zoom(2), back: () => pan(-0.4), on: () => pan(0.4), all: () => show(0, SPAN) };
  for (const [id, act] of Object.entries(buttons)) byId(id).addEventListener("click", act);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColors(); redraw(); });
  let width = list.clientWidth;
  new ResizeObserver(() => {
    if (list.clientWidth !== width) redraw();
    width = list.clientWidth;
  }).observe(list);
}

readColors();
rows.forEach(buildRow);
summarize();
arrange();
for (const row of rows) sight.observe(row.element);
listen();
cancelAnimationFrame(frame);
draw(true);
performance.mark("drawn");
document.documentElement.dataset.drawn = String(rows.length);
