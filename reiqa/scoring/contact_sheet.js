"use strict";

// The page holds one JSON block with the rows and blocks of base64 pictures, one per line. Only the
// cards near the viewport are in the document.

const data = JSON.parse(document.getElementById("data").textContent);
const images = data.images;
const byId = (id) => document.getElementById(id);

const OVERSCAN = 2; // rows above and below the viewport
const BINS = 25;
const collator = new Intl.Collator(undefined, { numeric: true });

// --- numbers and pictures

const points = (value) => value.toFixed(1).replace("-", "\u2212");
const signed = (value) => (value > 0 ? "+" : "") + points(value);
const whole = (value) => value.toFixed(0).replace("-", "\u2212");
const plural = (count) => `${count.toLocaleString()} ${count === 1 ? "image" : "images"}`;
const expected = (image) => `${whole(image.low)} to ${whole(image.high)}`;
const percent = (value) => `${Math.min(Math.max(value, 0), 100)}%`;

const blocks = new Map();

function picture(kind, index) {
  const id = `${kind}-${Math.floor(index / data.block)}`;
  if (!blocks.has(id)) blocks.set(id, byId(id).textContent.split("\n"));
  return `data:image/jpeg;base64,${blocks.get(id)[index % data.block]}`;
}

function setShare(node, value) {
  node.textContent = signed(value);
  node.className = value < 0 ? "worse" : "better";
}

function setScale(node, image) {
  const [band, point] = node.children;
  const low = parseFloat(percent(image.low));
  band.style.left = `${low}%`;
  band.style.width = `${parseFloat(percent(image.high)) - low}%`;
  point.style.left = percent(image.score);
}

// --- filter and sort

const filter = { low: 0, high: 100, words: [], failed: false };
let order = data.order;
let found = []; // indices of the images shown, in order
let active = 0; // position in `found` that the keyboard is at

const searched = images.map((image) => `${image.name} ${image.error}`.toLowerCase());
const failures = images.filter((image) => image.error).length;
const filtered = () => filter.low > 0 || filter.high < 100;

function matches(index) {
  const { score, error } = images[index];
  if (!filter.words.every((word) => searched[index].includes(word))) return false;
  if (filter.failed) return Boolean(error);
  if (error) return !filtered();
  // Scores are not clipped: the ends of the range are open.
  return (filter.low <= 0 || score >= filter.low) && (filter.high >= 100 || score <= filter.high);
}

const KEYS = {
  worst: (image) => image.score,
  best: (image) => -image.score,
  content: (image) => image.content,
  quality: (image) => image.quality,
};

function compare(a, b) {
  const [one, other] = [images[a], images[b]];
  const key = KEYS[order];
  const failed = Boolean(one.error) - Boolean(other.error);
  if (key && failed) return failed;
  const difference = key && !one.error ? key(one) - key(other) : 0;
  return difference || collator.compare(one.name, other.name) || a - b;
}

function update() {
  found = images.map((_, index) => index).filter(matches).sort(compare);
  active = 0;
  showFilter();
  clear();
  // A new order is read from its start, which sticky controls may cover.
  const margin = parseFloat(getComputedStyle(sheet).marginTop);
  const edge = sheet.getBoundingClientRect().top - margin;
  const covered = byId("controls").getBoundingClientRect().bottom - edge;
  if (covered > 0) scrollBy(0, -covered);
  render();
}

function showFilter() {
  const all = found.length === images.length;
  byId("status").textContent = all
    ? `Showing all ${plural(images.length)}`
    : `Showing ${found.length.toLocaleString()} of ${plural(images.length)}`;
  byId("reset").hidden = !filtered() && !filter.words.length && !filter.failed;
  byId("bounds").textContent = bounds();
  byId("failed").setAttribute("aria-pressed", String(filter.failed));
  [...byId("histogram").children].forEach((bar, bin) => {
    const [from, to] = [(bin * 100) / BINS, ((bin + 1) * 100) / BINS];
    bar.classList.toggle("in", !filter.failed && to > filter.low && from < filter.high);
  });
}

function bounds() {
  if (!filtered()) return "any";
  if (filter.low <= 0) return `up to ${filter.high}`;
  return filter.high >= 100 ? `from ${filter.low}` : `${filter.low} to ${filter.high}`;
}

function drawHistogram() {
  const counts = new Array(BINS).fill(0);
  for (const { score, error } of images) {
    if (!error) counts[Math.min(Math.max(Math.floor((score * BINS) / 100), 0), BINS - 1)] += 1;
  }
  const most = Math.max(...counts, 1);
  for (const count of counts) {
    const bar = document.createElement("span");
    bar.style.height = count ? `${Math.max((100 * count) / most, 6)}%` : "0";
    byId("histogram").append(bar);
  }
}

// --- the sheet: a window of cards; padding stands for the rows above and below it

const sheet = byId("sheet");
const shown = new Map(); // position in `found` to list item

function clear() {
  sheet.replaceChildren();
  shown.clear();
  if (!found.length) {
    const note = document.createElement("li");
    note.className = "empty";
    note.textContent = "No image matches these filters.";
    sheet.append(note);
    sheet.style.paddingTop = sheet.style.paddingBottom = "0";
  }
}

function layout() {
  const style = getComputedStyle(sheet);
  const columns = style.gridTemplateColumns.split(" ").length;
  const [item] = shown.values();
  const height = item.getBoundingClientRect().height + parseFloat(style.rowGap);
  return { columns, height, rows: Math.ceil(found.length / columns) };
}

function render() {
  if (!found.length) return;
  if (!shown.size) insert(0, card(0));
  const { columns, height, rows } = layout();
  const top = -sheet.getBoundingClientRect().top;
  const row = (offset) => Math.floor((top + offset) / height);
  const first = Math.min(Math.max(row(0) - OVERSCAN, 0), rows - 1);
  const last = Math.min(Math.max(row(innerHeight) + OVERSCAN, first), rows - 1);
  const [start, end] = [first * columns, Math.min((last + 1) * columns, found.length)];
  const focused = sheet.contains(document.activeElement);
  for (const [position, item] of shown) {
    if (position < start || position >= end) {
      item.remove();
      shown.delete(position);
    }
  }
  for (let position = end - 1, next = null; position >= start; position -= 1) {
    if (!shown.has(position)) insert(position, card(position), next);
    next = shown.get(position);
  }
  sheet.style.paddingTop = `${first * height}px`;
  sheet.style.paddingBottom = `${(rows - last - 1) * height}px`;
  // Tab reaches one card: the active one, or the first in sight.
  const reached = shown.has(active) ? active : start;
  for (const [position, item] of shown) item.firstElementChild.tabIndex = position === reached ? 0 : -1;
  if (focused && !sheet.contains(document.activeElement)) sheet.focus({ preventScroll: true });
}

function insert(position, item, next = null) {
  sheet.insertBefore(item, next);
  shown.set(position, item);
}

function card(position) {
  const index = found[position];
  const image = images[index];
  const item = byId("card").content.firstElementChild.cloneNode(true);
  item.setAttribute("aria-setsize", found.length);
  item.setAttribute("aria-posinset", position + 1);
  const button = item.firstElementChild;
  button.dataset.position = position;
  button.title = image.name;
  button.classList.toggle("mapped", image.map);
  const find = (selector) => button.querySelector(selector);
  find(".name").textContent = image.name.split("/").pop();
  if (image.photo) {
    find("img").src = picture("photos", index);
    find("img").hidden = false;
  } else {
    find(".note").textContent = image.error || "No preview";
    find(".note").classList.toggle("error", Boolean(image.error));
  }
  if (image.error) {
    button.setAttribute("aria-label", `${image.name}: failed: ${image.error}`);
    find(".numbers b").textContent = "\u2013";
    find(".expected").textContent = "not scored";
    button.classList.add("failed");
    return item;
  }
  find(".numbers b").textContent = points(image.score);
  find(".expected i").textContent = expected(image);
  setScale(find(".scale"), image);
  const shares = button.querySelectorAll(".shares i");
  setShare(shares[0], image.content);
  setShare(shares[1], image.quality);
  button.setAttribute(
    "aria-label",
    `${image.name}: score ${points(image.score)}, expected ${expected(image)},` +
      ` content ${signed(image.content)}, quality ${signed(image.quality)}` +
      (image.map ? ", with map" : ""),
  );
  return item;
}

function focusCard(position) {
  active = Math.min(Math.max(position, 0), found.length - 1);
  if (!shown.has(active)) {
    const { columns, height } = layout();
    const top = sheet.getBoundingClientRect().top + scrollY;
    scrollTo(0, top + Math.floor(active / columns) * height - innerHeight / 3);
  }
  render();
  const button = shown.get(active).firstElementChild;
  button.focus({ preventScroll: true });
  button.parentElement.scrollIntoView({ block: "nearest" });
}

function moveBy(key) {
  const { columns, height } = layout();
  const page = Math.max(Math.floor(innerHeight / height), 1) * columns;
  const steps = {
    ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns,
    PageUp: -page, PageDown: page, Home: -found.length, End: found.length,
  };
  if (!(key in steps)) return false;
  // Up and down stay in the column at the ends.
  const target = active + steps[key];
  if (Math.abs(steps[key]) !== columns || columns === 1 || (target >= 0 && target < found.length)) {
    focusCard(target);
  }
  return true;
}

// --- one image

const details = byId("details");
let viewed = 0; // position in `found`; `active` follows the focus, which a closing dialog moves

function openDetails(position) {
  viewed = position;
  const index = found[position];
  const image = images[index];
  byId("details-name").textContent = image.name;
  // Not `disabled`, which would take the focus from the button and the arrow keys from the dialog.
  byId("previous").setAttribute("aria-disabled", String(position === 0));
  byId("next").setAttribute("aria-disabled", String(position === found.length - 1));
  byId("position").textContent = `${(position + 1).toLocaleString()} of ${found.length.toLocaleString()}`;
  byId("link").href = image.link;
  byId("problem").textContent = image.error;
  byId("problem").hidden = !image.error;
  byId("size").textContent = image.width ? `${image.width} \u00d7 ${image.height} pixels` : "";
  showPicture(index);
  details.querySelector(".facts").hidden = Boolean(image.error);
  if (!image.error) showNumbers(image);
  if (!details.open) details.showModal();
  details.scrollTop = 0;
}

function showPicture(index) {
  const image = images[index];
  const frame = byId("picture");
  frame.hidden = !image.map && !image.photo;
  details.classList.toggle("mapped", image.map);
  if (frame.hidden) return;
  const node = frame.firstElementChild;
  node.alt = image.map ? `Photograph and quality map of ${image.name}` : image.name;
  node.src = picture(image.map ? "maps" : "photos", index);
}

function showNumbers(image) {
  details.querySelector(".score b").textContent = points(image.score);
  details.querySelector(".score i").textContent = expected(image);
  setScale(details.querySelector(".scale"), image);
  byId("mean").textContent = points(image.score - image.content - image.quality);
  byId("sum").textContent = points(image.score);
  for (const expert of ["content", "quality"]) {
    const cell = byId(expert);
    cell.textContent = signed(image[expert]);
    const bar = cell.nextElementSibling.firstElementChild;
    const length = Math.min(Math.abs(image[expert]), 50); // half the bar is 50 points
    bar.className = `share ${image[expert] < 0 ? "worse" : "better"}`;
    bar.style.setProperty("--from", `${image[expert] < 0 ? 50 - length : 50}%`);
    bar.style.setProperty("--length", `${length}%`);
  }
}

function step(by) {
  const position = viewed + by;
  if (position >= 0 && position < found.length) openDetails(position);
}

// --- events

function listen() {
  const [low, high, words] = [byId("low"), byId("high"), byId("words")];
  const setRange = (moved) => {
    // A thumb stops at the other one.
    if (Number(low.value) > Number(high.value)) moved.value = moved === low ? high.value : low.value;
    low.style.zIndex = Number(low.value) > 50 ? 1 : 0; // where both meet, the one that can move
    [filter.low, filter.high, filter.failed] = [Number(low.value), Number(high.value), false];
    update();
  };
  low.addEventListener("input", () => setRange(low));
  high.addEventListener("input", () => setRange(high));
  words.addEventListener("input", () => {
    filter.words = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    update();
  });
  byId("order").addEventListener("change", (event) => {
    order = event.target.value;
    update();
  });
  byId("failed").addEventListener("click", () => {
    filter.failed = !filter.failed;
    update();
  });
  byId("reset").addEventListener("click", () => {
    [low.value, high.value, words.value] = [0, 100, ""];
    Object.assign(filter, { low: 0, high: 100, words: [], failed: false });
    update();
    words.focus();
  });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());

  sheet.addEventListener("click", (event) => {
    const button = event.target.closest(".card");
    if (button) openDetails(Number(button.dataset.position));
  });
  sheet.addEventListener("focusin", (event) => {
    const button = event.target.closest(".card");
    if (button) active = Number(button.dataset.position);
  });
  sheet.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || !found.length) return;
    if (moveBy(event.key)) event.preventDefault();
  });

  byId("close").addEventListener("click", () => details.close());
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  details.addEventListener("keydown", (event) => {
    // In a map that is scrolled, the arrow keys scroll it.
    const frame = byId("picture");
    if (event.target === frame && frame.scrollWidth > frame.clientWidth) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  details.addEventListener("click", (event) => {
    if (event.target === details) details.close(); // the backdrop
  });
  details.addEventListener("close", () => focusCard(viewed));
  byId("picture").firstElementChild.addEventListener("load", () => {
    // On a phone, the map itself first.
    const frame = byId("picture");
    frame.scrollLeft = details.classList.contains("mapped") ? frame.scrollWidth : 0;
  });

  let waiting = false;
  const renderSoon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      render();
    });
  };
  addEventListener("scroll", renderSoon, { passive: true });
  new ResizeObserver(renderSoon).observe(document.documentElement);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function start() {
  const scores = images.filter((image) => !image.error).map((image) => image.score);
  const parts = [plural(images.length)];
  if (failures) parts.push(`${failures.toLocaleString()} failed`);
  if (scores.length) parts.push(`median score ${points(median(scores))}`);
  parts.push(`scorer ${data.bundle}`);
  byId("summary").textContent = parts.join(" \u00b7 ");
  byId("failed").textContent = `${failures.toLocaleString()} failed`;
  byId("failed").hidden = !failures;
  byId("order").value = order;
  drawHistogram();
  listen();
  update();
}

start();
