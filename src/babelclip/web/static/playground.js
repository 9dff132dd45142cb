// Adds images to the playground; its texts work without.

const form = document.getElementById("try");
const chosen = document.getElementById("chosen");
const state = document.getElementById("status");
let images = []; // { name, content } with content in base64

function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve({ name: file.name || "image", content: reader.result.split(",")[1] });
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

async function add(files) {
  const wanted = [...files].filter((file) => file.type.startsWith("image/"));
  images.push(...(await Promise.all(wanted.map(read))));
  draw();
}

function draw() {
  chosen.replaceChildren(...images.map((image, place) => {
    const item = document.createElement("li");
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = `${image.name} ×`;
    remove.addEventListener("click", () => { images.splice(place, 1); draw(); });
    item.append(remove);
    return item;
  }));
}

async function compare() {
  const texts = document.getElementById("texts").value.split("\n").filter((line) => line.trim());
  const body = JSON.stringify({ texts, images, dim: Number(document.getElementById("dim").value) });
  const language = new FormData(form).get("lang");
  state.textContent = "…";
  try {
    const answer = await fetch(`playground?lang=${language}`, {
      method: "POST", body, headers: { "Content-Type": "application/json" },
    });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.detail);
    const page = new DOMParser().parseFromString(found.html, "text/html");
    document.getElementById("result").replaceChildren(...page.body.childNodes);
    state.textContent = "";
  } catch (error) {
    state.textContent = form.dataset.failed + error.message;
  }
}

document.querySelector(".drop").hidden = false;
document.getElementById("images").addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
document.addEventListener("paste", (event) => add(event.clipboardData.files));
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => { event.preventDefault(); add(event.dataTransfer.files); });
form.addEventListener("submit", (event) => { event.preventDefault(); compare(); });
