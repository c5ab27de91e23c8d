"use strict";
// The data, out of its columns: see columns.rs for how they are packed.
const raw = JSON.parse(document.getElementById("data").textContent);

function sums(deltas) {
  const out = new Float64Array(deltas.length);
  let sum = 0;
  for (let i = 0; i < deltas.length; i++) out[i] = sum += deltas[i];
  return out;
}

function line(packed) {
  return { t: sums(packed.t), v: sums(packed.v) };
}

function bands(packed) {
  return { from: sums(packed.from), len: packed.len, what: packed.what };
}

function markers(packed) {
  return {
    t: sums(packed.t), step: sums(packed.step), number: sums(packed.number),
    class: packed.class, kind: packed.kind, what: packed.what, cause: packed.cause,
    // Put together when first asked for: nobody needs the names before a marker is opened.
    get jobs() {
      const value = jobsByMarker(packed.jobs);
      Object.defineProperty(this, "jobs", { value });
      return value;
    },
  };
}

function jobsByMarker(packed) {
  const jobs = new Map();
  const of = sums(packed.marker), number = sums(packed.number);
  for (let i = 0; i < of.length; i++) {
    const name = raw.texts[packed.name[i]] + (number[i] > 0 ? String(number[i] - 1) : "");
    const list = jobs.get(of[i]) ?? [];
    list.push({ said: raw.texts[packed.said[i]], name });
    jobs.set(of[i], list);
  }
  return jobs;
}

const CLASSES = raw.classes;
const LINES = [
  { key: "in_service", name: "in service" },
  { key: "running", name: "running" },
  { key: "assigned", name: "assigned" },
  { key: "desired", name: "desired" },
];

const pools = raw.pools.map((pool) => ({
  name: pool.name, scope: pool.scope, set: pool.set, min: pool.min, max: pool.max,
  verdict: raw.texts[pool.verdict], counted: pool.counted, waits: pool.waits,
  lines: Object.fromEntries(LINES.map(({ key }) => [key, line(pool[key])])),
  session: bands(pool.session), failing: bands(pool.failing), markers: markers(pool.markers),
}));
const daemon = {
  down: bands(raw.daemon.down), github: bands(raw.daemon.github), aws: bands(raw.daemon.aws),
  markers: markers(raw.daemon.markers),
};
// An empty recording still has a width.
const SPAN = Math.max(raw.about.span_ms, 1000);

// The place of the first value greater than `x`.
function after(values, x) {
  let lo = 0, hi = values.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (values[mid] <= x) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

// A line's value at a time; nothing before its first point.
function valueAt(line, t) {
  const at = after(line.t, t);
  return at > 0 ? line.v[at - 1] : null;
}
