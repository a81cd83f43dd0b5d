// Shows the test images of a cell of a confusion matrix. The data block was written by compare/gallery.py.
"use strict";
const data = JSON.parse(document.getElementById("gallery-data").textContent);
const dialog = document.getElementById("gallery");
const list = document.getElementById("gallery-images");
const heading = document.getElementById("gallery-title");
const count = document.getElementById("gallery-count");
const more = document.getElementById("gallery-more");
const close = document.getElementById("gallery-close");
const choice = document.getElementById("gallery-choice");
const STEP = 24; // images that are added at a time
let cell, found, numShown;

// The images of the open cell: of one run, or of those that every run puts there.
function select() {
  const chosen = new FormData(choice).get("run");
  const runs = chosen === "all" ? data.predicted.keys() : [Number(chosen)];
  found = [...data.rows.keys()];
  for (const run of runs) {
    found = found.filter((i) => data.labels[i] === cell.label && data.predicted[run][i] === cell.predicted);
  }
  list.replaceChildren();
  numShown = 0;
  showMore();
}

function showMore() {
  for (const i of found.slice(numShown, numShown + STEP)) list.append(item(i));
  numShown = Math.min(numShown + STEP, found.length);
  if (numShown === found.length && more === document.activeElement) close.focus(); // it is about to go
  more.hidden = numShown === found.length;
  const total = cell.totals[new FormData(choice).get("run")];
  const kept = total === undefined || total === found.length ? "" : `; ${found.length} of the cell's ${total} are on this page`;
  count.textContent = `${numShown} of ${found.length} shown${kept}`;
}

function item(i) {
  const element = document.createElement("li");
  const image = document.createElement("span");
  image.className = "tile";
  image.style.setProperty("--x", i % data.columns);
  image.style.setProperty("--y", Math.floor(i / data.columns));
  image.setAttribute("role", "img");
  image.setAttribute("aria-label", `Test image ${data.rows[i]}, ${data.classes[data.labels[i]]}`);
  const text = document.createElement("span");
  text.append(`no. ${data.rows[i]}`);
  data.names.forEach((name, run) => {
    const line = document.createElement("span");
    line.className = `look-${data.looks[run]}`;
    const marker = document.createElement("span");
    marker.setAttribute("aria-hidden", "true");
    marker.textContent = data.markers[run];
    const whose = document.createElement("span");
    whose.className = "hidden";
    whose.textContent = `${name}:`;
    line.title = name;
    line.append(marker, whose, ` ${data.classes[data.predicted[run][i]]} ${data.confidence[run][i]} %`);
    text.append(line);
  });
  element.append(image, text);
  return element;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-cell]");
  if (!button) return;
  const [run, label, predicted] = button.dataset.cell.split(",").map(Number);
  const totals = {};
  for (const one of document.querySelectorAll(`[data-cell$=",${label},${predicted}"]`)) {
    totals[one.dataset.cell.split(",")[0]] = Number(one.dataset.total);
  }
  cell = { label, predicted, totals };
  heading.textContent =
    label === predicted ? `${data.classes[label]}, predicted right` : `${data.classes[label]} taken for ${data.classes[predicted]}`;
  for (const radio of choice.querySelectorAll("input")) radio.checked = radio.value === String(run);
  select();
  dialog.showModal();
});
choice.addEventListener("change", select);
more.addEventListener("click", showMore);
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target === close) dialog.close(); // beside what is in it, or its button
});
