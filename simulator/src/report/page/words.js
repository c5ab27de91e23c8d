// Numbers, times and sentences.
const plain = new Intl.NumberFormat("en");
const pad = (n) => String(n).padStart(2, "0");

function count(n, one, many = one + "s") {
  return plain.format(n) + " " + (n === 1 ? one : many);
}

function span(ms) {
  if (ms < 1000) return Math.round(ms) + " ms";
  if (ms < 10_000) return (ms / 1000).toFixed(1) + " s";
  if (ms < 120_000) return Math.round(ms / 1000) + " s";
  if (ms < 7_200_000) return Math.floor(ms / 60_000) + "m " + pad(Math.floor(ms / 1000) % 60) + "s";
  return Math.floor(ms / 3_600_000) + "h " + pad(Math.floor(ms / 60_000) % 60) + "m";
}

function date(t) {
  return new Date(raw.about.from_ms + t);
}

function day(t) {
  return date(t).toISOString().slice(0, 10);
}

function clock(t, fine = true) {
  return date(t).toISOString().slice(11, fine ? 19 : 16);
}

function exact(t) {
  return date(t).toISOString().replace("T", " ").replace("Z", " UTC");
}

// A marker in words: what happened, and for a change of capacity its numbers.
function words(markers, i) {
  const name = CLASSES[markers.class[i]];
  if (name !== "raise" && name !== "lower") return { text: raw.texts[markers.what[i]] };
  const n = raw.decisions.slice(markers.what[i] * 10, markers.what[i] * 10 + 10);
  const [from, to, assigned, idle, lo, hi, target, unusable, in_service, pending] = n;
  const numbers = { from, to, assigned, idle, lo, hi, target, unusable, in_service, pending };
  const text = "Desired capacity " + (to > from ? "raised" : "lowered") + " from " + from + " to " + to;
  return { text, numbers };
}

function why(numbers) {
  const { from, to, assigned, idle, lo, hi, target, unusable, in_service, pending } = numbers;
  const wish = count(assigned, "job") + " assigned" + (idle > 0 ? " and " + count(idle, "idle runner") + " wanted" : "");
  const bound = assigned + idle > hi ? ", more than the " + hi + " allowed" : assigned + idle < lo ? ", fewer than the least of " + lo : "";
  const first = wish + bound + ": " + count(target, "instance") + " should be able to serve.";
  const broken = unusable > 0 ? " " + count(unusable, "instance") + " cannot serve and " + (unusable === 1 ? "does" : "do") + " not count." : "";
  const there = in_service + " in service and " + pending + " pending.";
  const rule = to > from
    ? " Desired was " + from + ", too few, so it was raised at once; there were " + there
    : " Desired was " + from + ", more than needed, for the whole grace; nothing was pending and all that was in service was protected, so lowering it could end no instance; there were " + there;
  return first + broken + rule;
}

function cause(markers, i) {
  return raw.texts[markers.cause[i]].replace("{n}", String(markers.number[i]));
}

// An element with text in it: what peers named is never anything but text.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// A small drawing for legends and buttons.
function icon(shapes, width = 22, height = 12) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 " + width + " " + height);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  svg.setAttribute("aria-hidden", "true");
  for (const [name, attributes] of shapes) {
    const shape = document.createElementNS(svg.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    svg.append(shape);
  }
  return svg;
}
