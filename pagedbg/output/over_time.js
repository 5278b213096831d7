// Stacks over time: a range of stretches is chosen, and the call paths are of it.
const held = JSON.parse(document.getElementById("cells").textContent);
const [times, legend, from, until, range] = ["times", "legend", "from", "until", "range"].map(id => document.getElementById(id));
const LAST = held.stretches - 1;
from.max = until.max = until.value = LAST;

const seconds = stretch => ((held.begin + stretch * held.width) / 1e9).toFixed(held.width < 1e6 ? 6 : held.width < 1e9 ? 3 : 0) + " s";

// Whether a cell was allocated from one stretch to another, and is held when that ends.
const isHeld = (cell, first, last) => cell[0] >= first && cell[0] <= last && (cell[1] < 0 || cell[1] > last);

const stretches = [...Array(held.stretches).keys()];
const live = held.holders.map(() => stretches.map(() => 0));
held.cells.forEach((cells, stack) => {
  for (const cell of cells)
    for (let at = cell[0]; at < (cell[1] < 0 ? held.stretches : cell[1]); at++) live[held.holder[stack]][at] += cell[2];
});
const sums = stretches.map(at => live.reduce((sum, each) => sum + each[at], 0)), most = Math.max(...sums, 1);

for (const at of stretches) {
  const bar = document.createElement("div");
  bar.title = seconds(at + 1) + ": " + sums[at].toLocaleString("en") + " pages, " + size(sums[at] * held.page);
  live.forEach((each, holder) => {
    const part = document.createElement("div");
    part.style.height = 100 * each[at] / most + "%";
    part.style.background = held.shades[holder];
    bar.append(part);
  });
  times.append(bar);
}
held.holders.forEach((holder, number) => {
  const item = document.createElement("li"), color = document.createElement("i");
  color.style.background = held.shades[number];
  item.append(color, holder);
  legend.append(item);
});

// The tree of calls of a range: what icicle.js draws.
function tree(first, last) {
  const root = [0, 0, new Map()];
  held.cells.forEach((cells, stack) => {
    let pages = 0;
    for (const cell of cells) if (isHeld(cell, first, last)) pages += cell[2];
    if (!pages) return;
    let here = root;
    here[1] += pages;
    for (const call of held.stacks[stack]) {
      if (!here[2].has(call)) here[2].set(call, [call, 0, new Map()]);
      here = here[2].get(call);
      here[1] += pages;
    }
  });
  const ahead = [root];
  while (ahead.length) {
    const call = ahead.pop();
    call[2] = [...call[2].values()].sort((a, b) => b[1] - a[1]);
    ahead.push(...call[2]);
  }
  return root;
}

function choose(first, last) {
  from.value = first;
  until.value = last;
  [...times.children].forEach((bar, at) => bar.classList.toggle("in", at >= first && at <= last));
  const root = tree(first, last);
  range.textContent = seconds(first) + " to " + seconds(last + 1) + ": " + root[1].toLocaleString("en") + " pages, " + size(root[1] * held.page);
  show(root, root[1] * held.page);
}

from.addEventListener("input", () => choose(Number(from.value), Math.max(Number(from.value), Number(until.value))));
until.addEventListener("input", () => choose(Math.min(Number(from.value), Number(until.value)), Number(until.value)));

const at = event => Math.min(Math.max(Math.floor((event.clientX - times.getBoundingClientRect().left) / times.clientWidth * held.stretches), 0), LAST);
let began = null;
times.addEventListener("pointerdown", event => { began = at(event); choose(began, began); });
addEventListener("pointermove", event => { if (began !== null) choose(Math.min(began, at(event)), Math.max(began, at(event))); });
for (const event of ["pointerup", "pointercancel"]) addEventListener(event, () => { began = null; });
document.querySelector(".range").addEventListener("submit", event => event.preventDefault());
Object.assign(data, held.calls);
choose(0, LAST);
