// References: add by picking, dropping or pasting; a row with its role and a way out for each.
// The file input itself stays the truth, so the form is sent as it would be without scripts.

const MAX_BYTES = 20 * 1024 * 1024;
const TYPES = ["image/png", "image/jpeg", "image/webp"];
const THUMBNAIL = 56;
const rows = new Map(); // file -> its role

function input() {
  return document.querySelector("input[data-references]");
}

function say(text) {
  const place = document.querySelector("[data-reference-fault]");
  place.textContent = text;
  place.hidden = !text;
}

function fault(file) {
  if (!TYPES.includes(file.type)) return `${file.name} is not a PNG, JPEG or WebP image.`;
  if (file.size > MAX_BYTES) return `${file.name} is larger than 20 MB.`;
  return "";
}

function add(files) {
  const faults = [];
  for (const file of files) {
    const found = fault(file);
    if (found) faults.push(found);
    else rows.set(file, "object");
  }
  say(faults.join(" "));
  render();
}

async function drawThumbnail(canvas, file) {
  try {
    const picture = await createImageBitmap(file);
    const scale = THUMBNAIL / Math.max(picture.width, picture.height);
    canvas.width = Math.max(1, Math.round(picture.width * scale));
    canvas.height = Math.max(1, Math.round(picture.height * scale));
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    picture.close();
  } catch {
    say(`${file.name} cannot be opened as an image.`);
  }
}

function roleSelect(file, roles) {
  const select = document.createElement("select");
  select.name = "role";
  select.setAttribute("aria-label", `Role of ${file.name}`);
  for (const role of roles) select.add(new Option(role, role, false, role === rows.get(file)));
  select.addEventListener("change", () => rows.set(file, select.value));
  return select;
}

function removeButton(file) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button small";
  button.textContent = "Remove";
  button.setAttribute("aria-label", `Remove ${file.name}`);
  button.addEventListener("click", () => {
    rows.delete(file);
    render();
    input().focus();
  });
  return button;
}

function rowOf(file, roles) {
  const row = document.createElement("li");
  const name = document.createElement("span");
  const canvas = document.createElement("canvas");
  name.className = "reference-name";
  name.textContent = file.name;
  canvas.width = canvas.height = 1;
  canvas.setAttribute("aria-hidden", "true");
  drawThumbnail(canvas, file);
  row.append(canvas, name, roleSelect(file, roles), removeButton(file));
  return row;
}

function render() {
  const field = input();
  const roles = field.dataset.roles.split(",");
  const transfer = new DataTransfer();
  for (const file of rows.keys()) transfer.items.add(file);
  field.files = transfer.files;
  document.querySelector("[data-reference-list]").replaceChildren(...Array.from(rows.keys(), (file) => rowOf(file, roles)));
  field.dispatchEvent(new CustomEvent("change", { bubbles: true, detail: "rendered" }));
}

document.addEventListener("change", (event) => {
  if (event.target === input() && event.detail !== "rendered") add(Array.from(event.target.files));
});

document.addEventListener("dragover", (event) => {
  if (input() && event.dataTransfer?.types.includes("Files")) event.preventDefault();
});

document.addEventListener("drop", (event) => {
  if (!input() || !event.dataTransfer?.files.length) return;
  event.preventDefault();
  add(Array.from(event.dataTransfer.files));
});

document.addEventListener("paste", (event) => {
  const files = Array.from(event.clipboardData?.files ?? []);
  if (!input() || !files.length) return;
  event.preventDefault();
  add(files);
});

// A browser that restores the form on the way back keeps the files but not the rows.
window.addEventListener("pageshow", () => {
  const field = input();
  if (field?.files.length && !rows.size) add(Array.from(field.files));
});
