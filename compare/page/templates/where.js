// Shows over the test images where networks looked, one run after the other. It follows gallery.js, whose words it uses;
// the data block was written by compare/page/gallery.py.
"use strict";
const whereButtons = document.querySelectorAll("button[data-where]");
const whereStatus = document.querySelectorAll("[data-where-status]");
const MAPS = data.maps.map((one) => ({ ...one, values: Uint8Array.from(atob(one.values), (letter) => letter.charCodeAt(0)) }));
let shownMap = -1; // which of them lies over the images; -1 for none

function drawMap(tile) {
  tile.querySelector("canvas")?.remove();
  if (shownMap < 0) return;
  const { height, width, values } = MAPS[shownMap];
  const [column, line] = ["--x", "--y"].map((name) => Number(tile.style.getPropertyValue(name)));
  const first = (line * data.columns + column) * height * width;
  const canvas = element("canvas", { width, height, ariaHidden: "true" });
  const pixels = new ImageData(width, height);
  for (let place = 0; place < height * width; place++) {
    const share = values[first + place] / 255;
    pixels.data.set([255, 40 + 180 * share, 0, 190 * share], 4 * place); // the more, the brighter and the less the image
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  tile.append(canvas);
}

function drawMaps() {
  for (const tile of document.querySelectorAll(".images .tile")) drawMap(tile);
}

function sayWhere() {
  const nameOf = (map) => inLanguage(data.names)[MAPS[map].run];
  const next = shownMap + 1;
  const text = next < MAPS.length ? say("show", { run: nameOf(next) }) : say("hide", {});
  for (const button of whereButtons) button.textContent = text;
  for (const status of whereStatus) status.textContent = shownMap < 0 ? "" : say("looked", { run: nameOf(shownMap) });
}

for (const button of whereButtons) {
  button.hidden = false;
  button.addEventListener("click", () => {
    shownMap = shownMap + 1 < MAPS.length ? shownMap + 1 : -1;
    drawMaps();
    sayWhere();
  });
}
const arrivals = new MutationObserver((changes) => {
  for (const change of changes) {
    for (const added of change.addedNodes) for (const tile of added.querySelectorAll(".tile")) drawMap(tile);
  }
});
for (const list of document.querySelectorAll(".images")) arrivals.observe(list, { childList: true });
document.addEventListener("languagechange", sayWhere);
sayWhere();
