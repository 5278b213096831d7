"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [calls, said, found, search, out] = ["calls", "said", "found", "search", "out"].map(id => document.getElementById(id));
const HEIGHT = 19, NARROWEST = 0.0008;
let ROOT = data.root, TOTAL = Math.max(ROOT[1], 1);
const name = call => data.names[call[0]];
let boxes = new Map();  // what is drawn, by its places
let path = [];  // places among the calls of each level, from the root to what is seen closer

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (bytes >= 1024 && power < units.length - 1) { bytes /= 1024; power++; }
  return bytes.toFixed(power ? 1 : 0) + " " + units[power];
}

function amount(weight) {
  const bytes = data.bytes ? ", " + size(data.bytes * weight / TOTAL) : "";
  return weight.toLocaleString("en") + " " + data.unit + bytes + ", " + (100 * weight / TOTAL).toFixed(1) + "%";
}

function chain() {
  const here = [ROOT];
  for (const place of path) here.push(here[here.length - 1][2][place]);
  return here;
}

function hits(call) {
  const wanted = search.value.toLowerCase();
  return wanted !== "" && name(call).toLowerCase().includes(wanted);
}

// What is on paths through a function that is searched for, once each.
function searched() {
  let weight = 0;
  const ahead = [ROOT];
  while (ahead.length) {
    const call = ahead.pop();
    if (hits(call)) weight += call[1]; else for (const each of call[2]) ahead.push(each);
  }
  return weight;
}

function draw() {
  const line = chain();
  calls.replaceChildren();
  boxes = new Map();
  let depth = 0;
  const box = (call, level, left, width, way, above) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name(call);
    button.title = name(call) + ": " + amount(call[1]);
    button.setAttribute("aria-label", button.title);
    button.style.left = 100 * left + "%";
    button.style.width = 100 * width + "%";
    button.style.top = level * HEIGHT + "px";
    button.style.background = data.colors[call[0]];
    button.style.color = data.inks[call[0]];
    if (above) button.classList.add("above");
    if (hits(call)) button.classList.add("hit");
    button.tabIndex = -1;
    button.dataset.way = way.join(".");
    boxes.set(button.dataset.way, button);
    button.addEventListener("click", () => { go(way); reach(way); });
    for (const event of ["mouseenter", "focus"]) button.addEventListener(event, () => { said.textContent = button.title; });
    calls.append(button);
    depth = Math.max(depth, level + 1);
  };
  line.slice(0, -1).forEach((call, level) => box(call, level, 0, 1, path.slice(0, level), true));
  const here = line[line.length - 1], whole = Math.max(here[1], 1);
  const ahead = [[here, path.length, 0, path]];
  while (ahead.length) {
    const [call, level, left, way] = ahead.pop(), width = call[1] / whole;
    if (width < NARROWEST) continue;
    box(call, level, left, width, way, false);
    let before = left;
    call[2].forEach((each, place) => { ahead.push([each, level + 1, before, [...way, place]]); before += each[1] / whole; });
  }
  // Of nothing there is no box.
  if (boxes.has(path.join("."))) boxes.get(path.join(".")).tabIndex = 0;
  calls.style.height = depth * HEIGHT + "px";
  found.textContent = search.value ? amount(searched()) : "";
}

// Of all boxes one is a stop for the Tab key; arrows lead on from there.
function reach(way) {
  const next = boxes.get(way.join("."));
  if (!next) return;
  for (const each of calls.querySelectorAll("[tabindex='0']")) each.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function arrow(event) {
  const way = event.target.dataset.way.split(".").filter(Boolean).map(Number), above = way.slice(0, -1), place = way[way.length - 1];
  const next = {
    ArrowDown: [...way, 0], ArrowUp: above, ArrowLeft: [...above, place - 1], ArrowRight: [...above, place + 1],
  }[event.key];
  if (!next) return;
  event.preventDefault();
  reach(next);
}

function go(way, keep) {
  path = way;
  draw();
  const here = chain();
  said.textContent = name(here[here.length - 1]) + ": " + amount(here[here.length - 1][1]);
  if (!keep) remember();
}

function remember() {
  const state = new URLSearchParams();
  if (path.length) state.set("at", path.join("."));
  if (search.value) state.set("search", search.value);
  history.replaceState(null, "", "#" + state);
}

// What a link names: #at=0.2.1&search=alloc
function restore() {
  // Another fragment is a place on the page.
  const state = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  search.value = state.get("search") || "";
  path = [];
  let here = ROOT;
  for (const word of (state.get("at") || "").split(".").filter(Boolean)) {
    here = here[2][Number(word)];
    if (!here) break;
    path.push(Number(word));
  }
  go(path, true);
}

function list() {
  const sums = new Map(), ahead = [[ROOT, []]];
  while (ahead.length) {
    const [call, above] = ahead.pop();
    if (call !== ROOT && !above.includes(call[0])) sums.set(call[0], (sums.get(call[0]) || 0) + call[1]);
    for (const each of call[2]) ahead.push([each, [...above, call[0]]]);
  }
  document.getElementById("unit").textContent = data.unit;
  const body = document.getElementById("functions");
  body.replaceChildren();
  [...sums].sort((a, b) => b[1] - a[1]).slice(0, 30).forEach(([which, weight]) => {
    const row = body.insertRow();
    row.insertCell().textContent = data.names[which];
    row.insertCell().textContent = weight.toLocaleString("en");
    row.insertCell().textContent = (100 * weight / TOTAL).toFixed(1) + "%";
  });
}

// Another tree in the place of this one.
function show(root, bytes) {
  [ROOT, TOTAL, data.bytes] = [root, Math.max(root[1], 1), bytes];
  list();
  go([]);
}

search.addEventListener("input", () => { draw(); remember(); });
out.addEventListener("click", () => go([]));
calls.addEventListener("keydown", arrow);
search.form.addEventListener("submit", event => event.preventDefault());
document.addEventListener("keydown", event => {
  if (event.key !== "Escape" || !path.length) return;
  const inside = calls.contains(document.activeElement);
  go(path.slice(0, -1));
  if (inside) reach(path);
});
addEventListener("hashchange", restore);
list();
restore();
