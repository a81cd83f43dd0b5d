// Shows the test images: those of a cell of a confusion matrix in a dialog, and those that runs differ on by their
// class, some at a time. The data block was written by compare/page/gallery.py and mistakes.py.
"use strict";
const data = JSON.parse(document.getElementById("gallery-data").textContent);
const dialog = document.getElementById("gallery");
const [heading, choice, close] = ["title", "choice", "close"].map((name) => document.getElementById(`gallery-${name}`));
let cell;

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

// How images are put into a part of the page that has a list for them, a button for more, and a line on how many.
function viewIn(part) {
  const [list, more, count] = [".images", "[data-more]", "[data-count]"].map((place) => part.querySelector(place));
  let found, runs, total, numShown;
  function showMore() {
    for (const i of found.slice(numShown, numShown + data.step)) list.append(item(i, runs));
    numShown = Math.min(numShown + data.step, found.length);
    const isAll = numShown === found.length;
    if (isAll && more === document.activeElement) (part === dialog ? close : byClass).focus(); // it is about to go
    more.hidden = isAll;
    const numbers = { shown: numShown, found: found.length, total };
    for (const name in numbers) numbers[name] = numbers[name].toLocaleString("en");
    count.textContent = say(total === found.length ? "shown" : "kept", numbers);
  }
  more.addEventListener("click", showMore);
  return (images, by, number = images.length) => {
    [found, runs, total, numShown] = [images, by, number, 0];
    list.replaceChildren();
    showMore();
  };
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// An image, what it is, and what some runs take it for.
function item(i, runs) {
  const classes = inLanguage(data.classes);
  const label = classes[data.labels[i]];
  const image = element("span", {
    className: "tile",
    role: "img",
    ariaLabel: say("image", { number: data.rows[i], label }),
    style: `--x: ${i % data.columns}; --y: ${Math.floor(i / data.columns)}`,
    title: say("number", { number: data.rows[i] }),
  });
  const guesses = runs.map((run) => {
    const name = inLanguage(data.names)[run];
    const confidence = data.confidence[run][i];
    const marker = element("span", { ariaHidden: "true" }, data.markers[run]);
    const whose = element("span", { className: "hidden" }, `${name}:`);
    // a name that is read from the right stays apart from the number
    const predicted = element("bdi", {}, classes[data.predicted[run][i]]);
    const look = { className: `guess look-${data.colours[run]}`, title: name, style: `--p: ${confidence}` };
    return element("span", look, marker, " ", whose, predicted, element("span", {}, ` ${confidence}\u00a0%`));
  });
  return element("li", {}, image, element("span", {}, element("strong", {}, label), ...guesses));
}

// The images of the open cell: of one run, or of those that every run puts there.
const showCell = viewIn(dialog);
function select() {
  const chosen = new FormData(choice).get("run");
  const runs = chosen === "all" ? [...data.predicted.keys()] : [Number(chosen)];
  const isThere = (i) => data.labels[i] === cell.label && runs.every((run) => data.predicted[run][i] === cell.predicted);
  const all = [...data.rows.keys()].filter(isThere);
  showCell(all, [...new Set([...data.pair, ...runs])].slice(0, 4), cell.totals[chosen]);
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
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target === close) dialog.close(); // beside what is in it, or its button
});

// The images that runs differ on, of all classes or of one.
const groups = [...document.querySelectorAll("[data-group]")].map((part) => ({ show: viewIn(part), ...data.groups[part.dataset.group] }));
const byClass = document.getElementById("of-class");

function nameClasses() {
  const chosen = byClass.value;
  const found = new Set(groups.flatMap((group) => group.places.map((i) => data.labels[i])));
  const options = inLanguage(data.classes).map((name, index) => new Option(name, index)).filter((one) => found.has(Number(one.value)));
  byClass.replaceChildren(new Option(say("every", {}), ""), ...options);
  byClass.value = chosen;
}

function showGroups() {
  for (const { show, places, total } of groups) {
    if (byClass.value === "") show(places, data.pair, total);
    else show(places.filter((i) => data.labels[i] === Number(byClass.value)), data.pair);
  }
}

byClass.closest("[hidden]").hidden = false;
byClass.addEventListener("change", showGroups);
document.addEventListener("languagechange", () => {
  nameButtons();
  nameClasses();
  showGroups();
  if (!dialog.open) return;
  heading.textContent = nameOfCell(cell.label, cell.predicted);
  select();
});
nameButtons();
nameClasses();
showGroups();
