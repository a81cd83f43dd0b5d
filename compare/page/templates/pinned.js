// Shows the strategies whose boxes in the table of runs are checked, and puts the others aside. The choice is in the
// page's address, so that it can be sent.
"use strict";
const boxes = [...document.querySelectorAll("input.pins")];
const most = boxes.filter((box) => box.defaultChecked).length;
const parts = [...document.querySelectorAll("[data-of]")];
const matrixRows = ["matrices", "other-matrices"].map((id) => document.getElementById(id));
const matricesOfRuns = [...document.querySelectorAll(".matrix-of[data-of]")];
const asked = new URLSearchParams(location.search).get("pinned")?.split(",");
let pinned = boxes.filter((box) => asked?.includes(box.value) ?? box.defaultChecked).slice(0, most);

function show() {
  const looks = pinned.map((box) => box.dataset.look);
  for (const box of boxes) box.checked = pinned.includes(box); // a browser keeps what was checked before a reload
  for (const part of parts) {
    const itsLooks = part.dataset.of.trim().split(" "); // what is said of several strategies stays with one of them
    part.classList.toggle("aside", pinned.length > 0 && !itsLooks.some((look) => looks.includes(look)));
    if (part.matches(".dots *")) part.style.setProperty("--lane", Math.max(0, looks.indexOf(part.dataset.of)));
  }
  document.querySelector("main").style.setProperty("--columns", pinned.length || boxes.length);
  const isPinned = (matrix) => looks.includes(matrix.dataset.of);
  matrixRows[0].prepend(...matricesOfRuns.filter(isPinned));
  matrixRows[1]?.append(...matricesOfRuns.filter((matrix) => !isPinned(matrix)));
  document.querySelectorAll(".drawing").forEach(spreadNames);
}

// Moves the names at the ends of a picture's lines apart: downwards, and up again from its lower edge.
function spreadNames(drawing) {
  const lines = [...drawing.querySelectorAll(".name:not(.aside)")];
  const names = [...new Set(lines.map((line) => line.dataset.name))].map((number) => {
    const written = lines.filter((line) => line.dataset.name === number);
    const extents = written.map((line) => line.getBBox());
    const [top, bottom] = [Math.min(...extents.map((one) => one.y)), Math.max(...extents.map((one) => one.y + one.height))];
    return { written, top, height: bottom - top };
  });
  names.sort((one, other) => one.top - other.top);
  let edge = 0;
  for (const name of names) {
    name.place = Math.max(name.top, edge);
    edge = name.place + name.height;
  }
  edge = drawing.viewBox.baseVal.height;
  for (const name of names.reverse()) {
    name.place = Math.min(name.place, edge - name.height);
    edge = name.place;
    for (const line of name.written) line.setAttribute("transform", `translate(0 ${name.place - name.top})`);
  }
}

for (const part of document.querySelectorAll(".pins")) part.hidden = false;
document.addEventListener("change", ({ target: box }) => {
  if (!boxes.includes(box)) return;
  pinned = box.checked ? [...pinned, box].slice(-most) : pinned.filter((one) => one !== box);
  const address = new URL(location);
  address.searchParams.set("pinned", pinned.map((one) => one.value).join());
  history.replaceState(null, "", address);
  show();
});
show();
