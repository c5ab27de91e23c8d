// What is shown: the time, the pools and their order, the kinds of markers; and where everything stands.
const view = {
  from: 0, to: SPAN, search: "", sort: "name",
  classes: new Set(CLASSES.filter((name) => name !== "info" || pools.length <= 8)),
  row: null, picked: -1,
};
const SHORTEST = Math.min(2000, SPAN);
const ROW_HEIGHT = pools.length <= 1 ? 300 : pools.length <= 4 ? 170 : pools.length <= 12 ? 124 : 92;
const byId = (id) => document.getElementById(id);
const list = byId("pools");

// The whole daemon is a row like a pool's, with bands in place of lines.
const rows = [{ pool: null, markers: daemon.markers, name: "Daemon" }].concat(
  pools.map((pool) => ({ pool, markers: pool.markers, name: pool.name })));

function buildRow(row) {
  const { pool } = row;
  row.canvas = element("canvas", { "aria-hidden": "true" });
  row.plot = element("div", { class: "plot", style: "height:" + (pool ? ROW_HEIGHT : 74) + "px" }, row.canvas);
  row.values = element("span", { class: "values" });
  const stats = pool ? poolStats(pool) : element("span", { class: "stats" }, count(raw.about.lives - 1, "restart"));
  const chip = pool && pool.verdict !== "driven" ? element("span", { class: "chip" }, pool.verdict) : null;
  const sub = pool && pool.set ? element("span", { class: "stats", title: pool.set }, pool.scope + " · " + pool.set) : null;
  const waited = pool?.waits ? element("span", { class: "stats" }, "p95 of waits " + span(pool.waits.p95)) : null;
  const label = element("div", { class: "label" },
    element("span", { class: "name", title: row.name }, row.name, chip), pools.length <= 12 ? sub : null, stats, waited, row.values);
  row.element = element("div", {
    class: "row", tabindex: "0", role: "group",
    "aria-label": row.name + ", " + count(row.markers.t.length, "marker") + "; arrow keys walk them",
  }, label, row.plot);
  row.element.row = row;
  row.dirty = true;
}

function poolStats(pool) {
  const stats = element("span", { class: "stats" }, count(pool.counted.completed, "job"));
  if (pool.counted.errors > 0) stats.append(" · ", element("span", { class: "bad" }, count(pool.counted.errors, "error")));
  return stats;
}

const ORDERS = {
  name: (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }),
  jobs: (a, b) => b.pool.counted.completed - a.pool.counted.completed,
  errors: (a, b) => b.pool.counted.errors - a.pool.counted.errors || b.pool.counted.anomalies - a.pool.counted.anomalies,
  wait: (a, b) => (b.pool.waits?.p95 ?? -1) - (a.pool.waits?.p95 ?? -1),
};

// Puts the rows that match into the list, in order.
function arrange() {
  const words = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = ({ pool }) => {
    const text = (pool.name + " " + pool.scope + " " + pool.set + " " + pool.verdict).toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const [whole, ...each] = rows;
  const order = ORDERS[view.sort];
  view.shown = each.filter(matches).sort((a, b) => order(a, b) || ORDERS.name(a, b));
  const wanted = [whole, ...view.shown].map((row) => row.element);
  list.replaceChildren(...wanted, byId("cross"), byId("brush"));
  byId("shown").textContent = view.shown.length === each.length
    ? count(each.length, "pool") : view.shown.length + " of " + count(each.length, "pool");
  const empty = byId("empty");
  empty.hidden = view.shown.length > 0;
  empty.textContent = each.length === 0
    ? "No Auto Scaling group was found while this was recorded."
    : "No pool matches “" + view.search + "”.";
  redraw();
}

// Shows a stretch of time, within the recording and not too short.
function show(from, to) {
  const width = Math.min(Math.max(to - from, SHORTEST), SPAN);
  view.from = Math.min(Math.max(from, 0), SPAN - width);
  view.to = view.from + width;
  redraw();
}

function zoom(factor, at = (view.from + view.to) / 2) {
  show(at - (at - view.from) * factor, at + (view.to - at) * factor);
}

function pan(share) {
  const by = (view.to - view.from) * share;
  show(view.from + by, view.to + by);
}

const xOf = (t, width) => (t - view.from) / (view.to - view.from) * width;
const timeAt = (x, width) => view.from + x / width * (view.to - view.from);

// The markers of a row that are switched on and lie within a stretch of time.
function markersIn(row, from, to) {
  const { t } = row.markers;
  const found = [];
  for (let i = after(t, from - 1e-6); i < t.length && t[i] <= to; i++) {
    if (view.classes.has(CLASSES[row.markers.class[i]])) found.push(i);
  }
  return found;
}
