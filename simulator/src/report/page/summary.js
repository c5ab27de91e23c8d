// The head of the page: what was recorded, and what it came to.
function card(title, big, unit, ...lines) {
  return element("div", { class: "card" }, element("h2", {}, title),
    element("div", { class: "big" }, big, unit ? element("small", {}, " " + unit) : null), ...lines.map((text) => element("p", {}, text)));
}

function spreadCard(title, spread, none) {
  if (!spread) return card(title, "–", "", none);
  return card(title, span(spread.p50), "median", "p95 " + span(spread.p95) + " · p99 " + span(spread.p99), "longest " + span(spread.max) + " of " + plain.format(spread.n));
}

function summarize() {
  const { about, counted } = raw;
  document.title = about.stack + " – poolkeeper report";
  byId("stack").textContent = about.stack;
  byId("about").textContent = "Recorded by " + about.owner + ", version " + about.versions.join(", ") + ", from " + exact(0).slice(0, 19)
    + " to " + exact(about.span_ms).slice(0, 19) + " UTC (" + span(about.span_ms) + "): " + count(pools.length, "pool") + ", "
    + count(about.steps, "step") + " in " + count(about.segments, "segment") + ".";
  const notes = raw.notes.concat(raw.thinned ? ["There are very many points: lines are thinned, with their extremes kept. Every marker is there."] : []);
  byId("notes").hidden = notes.length === 0;
  byId("notes").replaceChildren(...notes.map((note) => element("li", {}, note)));
  const results = Object.entries(counted.results).sort((a, b) => b[1] - a[1]).map(([name, n]) => plain.format(n) + " " + name).join(" · ");
  byId("cards").replaceChildren(
    card("Jobs completed", plain.format(counted.completed), "", plain.format(counted.started) + " started", results || "none ended"),
    spreadCard("Wait for a runner", raw.waits, "no job was started"),
    spreadCard("Message to capacity", raw.latency, "no message asked for more"),
    card("Capacity changes", plain.format(counted.raises + counted.lowers), "", plain.format(counted.raises) + " raised", plain.format(counted.lowers) + " lowered"),
    card("Errors", plain.format(counted.errors), "", count(counted.anomalies, "anomaly", "anomalies")),
    card("Restarts", plain.format(Math.max(0, about.lives - 1)), "", downTime()),
  );
  callTables();
  legend();
  classButtons();
}

function downTime() {
  const down = daemon.down.len.reduce((sum, len) => sum + len, 0);
  return down > 0 ? "down for " + span(down) : "one life, without a gap";
}

function callTables() {
  const minutes = Math.max(1, raw.about.span_ms / 60_000);
  const rate = (n) => (n / minutes).toFixed(n / minutes < 10 ? 1 : 0);
  const all = raw.calls.reduce((sum, row) => sum + row.total, 0), failed = raw.failures.reduce((sum, row) => sum + row.count, 0);
  const peers = ["github", "aws"].map((peer) => {
    const n = raw.calls.filter((row) => row.peer === peer).reduce((sum, row) => sum + row.total, 0);
    return plain.format(n) + " to " + PEERS[peer] + " (" + rate(n) + " a minute)";
  });
  byId("calls").firstElementChild.textContent = count(all, "API call") + ": " + peers.join(", ") + "; " + plain.format(failed) + " failed";
  const head = (...names) => element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col", class: name === "what came" ? "text" : null }, name))));
  const per = raw.bucket_min;
  const sorted = [...raw.calls].sort((a, b) => b.peer.localeCompare(a.peer) || b.total - a.total);
  byId("calls-table").replaceChildren(head("call", "total", "a minute", "busiest minute", "over time"), element("tbody", {}, ...sorted.map((row) =>
    element("tr", {}, element("td", {}, PEERS[row.peer] + " " + row.kind), element("td", {}, plain.format(row.total)), element("td", {}, rate(row.total)),
      element("td", {}, plain.format(Math.ceil(Math.max(...row.counts) / per))), element("td", {}, spark(row.counts))))));
  const worst = [...raw.failures].sort((a, b) => b.count - a.count);
  byId("failures-table").replaceChildren(head("call", "what came", "times"), element("tbody", {}, ...worst.map((row) =>
    element("tr", {}, element("td", {}, PEERS[row.peer] + " " + row.kind), element("td", { class: "text" }, row.what), element("td", {}, plain.format(row.count))))));
  if (worst.length === 0) byId("failures-table").replaceChildren(element("tbody", {}, element("tr", {}, element("td", {}, "None failed."))));
}

const PEERS = { github: "GitHub", aws: "AWS" };

function spark(counts) {
  const width = 150, most = Math.max(1, ...counts), step = Math.ceil(counts.length / width);
  const tops = [];
  for (let i = 0; i < counts.length; i += step) tops.push(Math.max(...counts.slice(i, i + step)));
  const points = tops.map((n, x) => (x / Math.max(1, tops.length - 1) * width).toFixed(1) + "," + (17 - n / most * 16).toFixed(1));
  const drawn = icon([["polyline", { points: points.join(" "), fill: "none", stroke: "var(--accent)", "stroke-width": 1 }]], width, 18);
  drawn.setAttribute("preserveAspectRatio", "none");
  return drawn;
}

const SHAPES = {
  raise: ["path", { d: "M6 1l5 9H1z", fill: "var(--raise)" }], lower: ["path", { d: "M6 11L1 2h10z", fill: "var(--lower)" }],
  error: ["path", { d: "M6 0l6 6-6 6-6-6z", fill: "var(--error)" }], anomaly: ["circle", { cx: 6, cy: 6, r: 4.5, fill: "var(--anomaly)" }],
  info: ["circle", { cx: 6, cy: 6, r: 3.5, fill: "none", stroke: "var(--info)", "stroke-width": 1.5 }],
};
const CLASS_NAMES = { raise: "raised", lower: "lowered", error: "errors", anomaly: "anomalies", info: "info" };

function classButtons() {
  const counts = Object.fromEntries(CLASSES.map((name) => [name, 0]));
  for (const { markers } of rows) for (const of of markers.class) counts[CLASSES[of]]++;
  byId("classes").replaceChildren(...CLASSES.map((name) => element("button", {
    "aria-pressed": String(view.classes.has(name)), "data-class": name, title: TITLES[name],
    onclick: (event) => {
      if (!view.classes.delete(name)) view.classes.add(name);
      event.currentTarget.setAttribute("aria-pressed", String(view.classes.has(name)));
      redraw();
    },
  }, icon([SHAPES[name]], 12, 12), CLASS_NAMES[name], element("b", {}, plain.format(counts[name])))));
}

function legend() {
  const rect = (fill, opacity, more = {}) => ["rect", { x: 0, y: 1, width: 22, height: 10, fill, "fill-opacity": opacity, ...more }];
  const stroke = (color, dash) => ["path", { d: "M0 6h22", stroke: color, "stroke-width": 2, "stroke-dasharray": dash ?? "none" }];
  const strip = (color) => ["rect", { x: 0, y: 4, width: 22, height: 5, fill: color }];
  const entries = [
    [[stroke("var(--assigned)")], "assigned jobs"], [[rect("var(--running)", 0.5)], "running jobs"],
    [[stroke("var(--desired)", "5 3")], "desired capacity"], [[rect("var(--service)", 0.35)], "in service"],
    [[rect("var(--failing)", 1, { stroke: "var(--error)", "stroke-opacity": 0.4 })], "calls fail and are tried again"],
    [[rect("var(--down)", 1), ["path", { d: "M1 11L11 1M9 11L19 1", stroke: "var(--soft)" }]], "daemon down"],
    [[strip("var(--open)")], "session open"], [[strip("var(--opening)")], "opening or closing"], [[strip("var(--standby)")], "standby"],
    [[strip("var(--none)")], "no session"],
  ];
  byId("legend").replaceChildren(...entries.map(([shapes, text]) => element("span", {}, icon(shapes), text)));
}
