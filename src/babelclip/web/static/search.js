// Makes the page quicker: results as you type, images dropped or pasted, a lightbox. Without it the form still works.

const form = document.getElementById("search");
const query = document.getElementById("q");
const results = document.getElementById("results");
const state = document.getElementById("status");
const more = document.getElementById("more");
const box = document.getElementById("lightbox");
const WAIT = 80; // milliseconds after the last key

let running = null; // the request on its way: a newer one takes its place
let timer = 0;
let image = null; // the image that was dropped, while its results are shown

function address() {
  const wanted = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (typeof value === "string" && value) wanted.set(name, value);
  return wanted;
}

// Results come as rendered by the server, so there is one way to draw a hit.
async function show(wanted, { body = null, append = false } = {}) {
  running?.abort();
  running = new AbortController();
  results.classList.add("busy");
  if (!append) forget();
  try {
    const answer = await fetch(`results?${wanted}`, { method: body ? "POST" : "GET", body, signal: running.signal });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.detail);
    const cells = new DOMParser().parseFromString(`<ol>${found.html}</ol>`, "text/html").querySelectorAll("li");
    append ? results.append(...cells) : results.replaceChildren(...cells);
    state.textContent = found.status;
    more.hidden = !found.more;
    more.href = found.more ?? "";
  } catch (error) {
    if (error.name !== "AbortError") state.textContent = box.dataset.failed + error.message;
    else return;
  }
  results.classList.remove("busy");
}

// Pictures that have not come yet of what goes away now: the browser would wait for them before it asks for more.
function forget() {
  for (const picture of results.querySelectorAll("img")) if (!picture.complete) picture.removeAttribute("src");
}

function search() {
  image = null;
  if (query.value.trim()) document.getElementById("like")?.remove();
  const wanted = address();
  history.replaceState(null, "", wanted.size ? `./?${wanted}` : "./");
  show(wanted);
}

function searchByImage(file) {
  if (!file?.type.startsWith("image/")) return;
  image = file;
  query.value = "";
  document.getElementById("like")?.remove();
  show(address(), { body: file });
}

// What was asked for last, an image too, with other filters or among more photos.
function again() {
  image ? searchByImage(image) : search();
}

form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(timer); search(); });
form.addEventListener("input", (event) => {
  if (event.target.type === "file" || event.isComposing) return;
  clearTimeout(timer);
  timer = setTimeout(event.target === query ? search : again, WAIT);
});
query.addEventListener("compositionend", () => { clearTimeout(timer); timer = setTimeout(search, WAIT); });
more.addEventListener("click", (event) => {
  event.preventDefault();
  show(new URL(more.href).searchParams, { body: image, append: true });
});

// Images: dropped anywhere, pasted, or chosen.
document.querySelector(".drop").hidden = false;
document.getElementById("file").addEventListener("change", (event) => searchByImage(event.target.files[0]));
document.addEventListener("paste", (event) => searchByImage(event.clipboardData.files[0]));
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => { event.preventDefault(); searchByImage(event.dataTransfer.files[0]); });

// The lightbox: a click or Enter opens it, arrows walk, Escape closes.
const large = document.getElementById("large");
const snippet = document.getElementById("snippet");
const where = document.getElementById("where");
let current = null;

function open(link) {
  current = link;
  const { id, kind, path, score, taken } = link.dataset;
  large.hidden = kind === "text";
  if (kind === "text") large.removeAttribute("src"); else large.src = `picture/${id}`;
  snippet.hidden = kind !== "text";
  snippet.textContent = kind === "text" ? link.querySelector(".snippet").textContent : "";
  large.alt = path;
  document.getElementById("shown").textContent = path;
  document.getElementById("shown-facts").textContent = [score, taken.replace("T", " ")].filter(Boolean).join(" · ");
  document.getElementById("similar").href = link.href;
  where.hidden = kind === "text" || !query.value.trim();
  if (!box.open) box.showModal();
}

function step(by) {
  const links = [...results.querySelectorAll("a")];
  const next = links[links.indexOf(current) + by];
  if (next) open(next);
}

results.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open(link);
});
results.addEventListener("keydown", (event) => {
  const links = [...results.querySelectorAll("a")];
  const place = links.indexOf(document.activeElement);
  const across = getComputedStyle(results).gridTemplateColumns.split(" ").length;
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
  if (place < 0 || !by || !links[place + by]) return;
  event.preventDefault();
  links[place + by].focus();
});
box.addEventListener("keydown", (event) => {
  if (event.key === "ArrowRight") step(1);
  if (event.key === "ArrowLeft") step(-1);
});
box.addEventListener("close", () => {
  large.removeAttribute("src"); // what is still being drawn is not wanted any more
  current?.focus();
});
document.getElementById("previous").addEventListener("click", () => step(-1));
document.getElementById("next").addEventListener("click", () => step(1));
document.getElementById("close").addEventListener("click", () => box.close());
where.addEventListener("click", () => {
  large.classList.add("busy");
  large.onload = () => large.classList.remove("busy");
  large.onerror = () => {
    large.classList.remove("busy");
    document.getElementById("shown-facts").textContent = box.dataset.failed + box.dataset.later;
  };
  large.src = `where/${current.dataset.id}?${new URLSearchParams({ q: query.value })}`;
});

// While photos are being indexed: how far that is, and the first ones as they come.
const PAGE = 60;
const indexed = document.getElementById("indexed");

async function follow(before) {
  const now = await fetch(`progress?lang=${form.elements.lang.value}`).then((answer) => answer.json(), () => null);
  if (!now) return; // the server has gone
  indexed.textContent = now.text;
  const isShort = now.running ? results.children.length < PAGE : results.children.length <= PAGE;
  const isLookedAt = box.open || results.contains(document.activeElement);
  if (now.count !== before && isShort && !isLookedAt) again();
  if (now.running) setTimeout(follow, 1000, now.count);
}

if ("indexing" in indexed.dataset) follow(-1);
