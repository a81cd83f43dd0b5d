// Shows the test images of a cell of a confusion matrix. The data block was written by compare/page/gallery.py.
"use strict";
const data = JSON.parse(document.getElementById("gallery-data").textContent);
const dialog = document.getElementById("gallery");
const [heading, choice, count, list, more, close] = ["title", "choice", "count", "images", "more", "close"].map((name) =>
  document.getElementById(`gallery-${name}`),
);
const STEP = 24; // images that are added at a time
let cell, found, numShown;

// In the page's language: a text with values in its places, or the names of classes or runs.
function inLanguage(texts) {
  return texts[document.documentElement.lang];
}

function say(name, values) {
  return inLanguage(data.texts[name]).replace(/\{(\w+)\}/g, (_, value) => values[value]);
}

function nameOfCell(label, predicted) {
  const classes = inLanguage(data.classes);
  return say(label === predicted ? "right" : "wrong", { label: classes[label], predicted: classes[predicted] });
}

// What the buttons in the matrices are called: a number alone says little.
function nameButtons() {
  for (const button of document.querySelectorAll("button[data-cell]")) {
    const [, label, predicted] = button.dataset.cell.split(",");
    button.ariaLabel = say("cell", { cell: nameOfCell(Number(label), Number(predicted)), number: button.dataset.total });
  }
}

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
  const all = total === undefined || total === found.length;
  count.textContent = say(all ? "shown" : "kept", { shown: numShown, found: found.length, total });
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function item(i) {
  const classes = inLanguage(data.classes);
  const image = element("span", {
    className: "tile",
    role: "img",
    ariaLabel: say("image", { number: data.rows[i], label: classes[data.labels[i]] }),
    style: `--x: ${i % data.columns}; --y: ${Math.floor(i / data.columns)}`,
  });
  const lines = inLanguage(data.names).map((name, run) => {
    const marker = element("span", { ariaHidden: "true" }, data.markers[run]);
    const whose = element("span", { className: "hidden" }, `${name}:`);
    // a name that is read from the right stays apart from the number
    const predicted = element("bdi", {}, classes[data.predicted[run][i]]);
    const look = { className: `look-${data.colours[run]}`, title: name };
    return element("span", look, marker, whose, " ", predicted, ` ${data.confidence[run][i]} %`);
  });
  return element("li", {}, image, element("span", {}, say("number", { number: data.rows[i] }), ...lines));
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
  heading.textContent = nameOfCell(label, predicted);
  for (const radio of choice.querySelectorAll("input")) radio.checked = radio.value === String(run);
  select();
  dialog.showModal();
});
choice.addEventListener("change", select);
more.addEventListener("click", showMore);
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target === close) dialog.close(); // beside what is in it, or its button
});
document.addEventListener("languagechange", () => {
  nameButtons();
  if (!dialog.open) return;
  heading.textContent = nameOfCell(cell.label, cell.predicted);
  select();
});
nameButtons();
