// The side panel: what happened, why, and what else happened there.
const panel = byId("panel");
const TITLES = { raise: "Capacity raised", lower: "Capacity lowered", error: "Error", anomaly: "Not as it should be", info: "For information" };
const NUMBERS = [
  ["assigned", "jobs assigned"], ["idle", "idle runners wanted"], ["lo", "least allowed"], ["hi", "most allowed"],
  ["target", "instances that should serve"], ["unusable", "instances that cannot serve"],
  ["in_service", "in service"], ["pending", "pending"], ["from", "desired before"], ["to", "desired after"],
];
// The most events that are listed beside the one that is told.
const LISTED = 200;

function openPanel(row, i, around = [i]) {
  const { markers } = row;
  view.row = row;
  view.picked = i;
  const said = words(markers, i);
  const name = CLASSES[markers.class[i]];
  const close = element("button", { onclick: closePanel, "aria-label": "Close" }, "✕");
  const head = element("header", {}, element("div", {},
    element("h2", {}, row.name), element("p", { class: "sub" }, TITLES[name] + " · " + raw.texts[markers.kind[i]])), close);
  const parts = [head, element("p", {}, element("time", {}, exact(markers.t[i]))), element("p", { class: "what" }, said.text + (said.numbers ? "." : ""))];
  if (said.numbers) parts.push(element("p", {}, why(said.numbers)));
  parts.push(element("h3", {}, "Cause"), element("p", { class: "cause" }, sentence(cause(markers, i))));
  const jobs = markers.jobs.get(i);
  if (jobs) parts.push(element("ul", {}, ...jobs.map((job) => element("li", {}, job.name + ": " + job.said))));
  if (said.numbers) {
    const body = NUMBERS.map(([key, label]) => element("tr", {}, element("td", {}, label), element("td", {}, String(said.numbers[key]))));
    parts.push(element("h3", {}, "Numbers of the decision"), element("table", {}, element("tbody", {}, ...body)));
  }
  if (row.pool) parts.push(...moment(row.pool, markers.t[i]));
  parts.push(element("h3", {}, "In the recording"), element("p", {}, "Step " + plain.format(markers.step[i]) + ". The machine just before it:"),
    element("code", {}, "poolkeeper-sim replay JOURNAL --until " + markers.step[i]));
  parts.push(element("div", { class: "walk" },
    element("button", { onclick: () => walk(row, -1) }, "← Earlier"), element("button", { onclick: () => walk(row, 1) }, "Later →")));
  if (around.length > 1) parts.push(...others(row, i, around));
  panel.replaceChildren(...parts);
  const wasHidden = panel.hidden;
  panel.hidden = false;
  document.body.classList.add("with-panel");
  panel.scrollTop = 0;
  if (wasHidden) queueMicrotask(() => redraw());
  else redraw();
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + ".";
}

function moment(pool, t) {
  const cells = LINES.map(({ key, name }) => element("tr", {}, element("td", {}, name), element("td", {}, String(valueAt(pool.lines[key], t) ?? "unknown"))));
  return [element("h3", {}, "The pool after it"), element("table", {}, element("tbody", {}, ...cells))];
}

function others(row, i, around) {
  const inTime = [...around].sort((a, b) => a - b).slice(0, LISTED);
  const items = inTime.map((other) => element("li", {},
    element("button", { "aria-current": other === i ? "true" : null, onclick: () => openPanel(row, other, around) },
      element("time", {}, clock(row.markers.t[other])), element("span", {}, words(row.markers, other).text))));
  const more = around.length > LISTED ? [element("p", { class: "sub" }, "… and " + (around.length - LISTED) + " more: zoom in")] : [];
  return [element("h3", {}, count(around.length, "event") + " at this place"), element("ul", { class: "list" }, ...items), ...more];
}

function closePanel() {
  if (panel.hidden) return;
  const { row } = view;
  panel.hidden = true;
  document.body.classList.remove("with-panel");
  view.row = null;
  view.picked = -1;
  row?.element.focus({ preventScroll: true });
  redraw();
}

// Opens the marker before or behind the open one, and keeps it in sight.
function walk(row, by) {
  const shown = (i) => view.classes.has(CLASSES[row.markers.class[i]]);
  const { t } = row.markers;
  let i = view.row === row && view.picked >= 0 ? view.picked + by : by > 0 ? after(t, view.from - 1e-6) : after(t, view.to) - 1;
  while (i >= 0 && i < t.length && !shown(i)) i += by;
  if (i < 0 || i >= t.length) return;
  openPanel(row, i);
  const width = view.to - view.from;
  if (t[i] < view.from || t[i] > view.to) show(t[i] - width / 2, t[i] + width / 2);
}
