// Arranges the confusion matrices: their classes in the data's order or, as they are written, confused ones together,
// and their cells as numbers of images or as shares of the true class.
"use strict";
const switches = document.getElementById("matrix-switches");
const matrices = [...document.querySelectorAll("table.matrix")].map((table) => {
  const rows = [...table.tBodies[0].rows];
  const cells = new Map([...table.tHead.rows, ...rows].map((row) => [row, [...row.cells].slice(1)]));
  const texts = rows.flatMap((row) =>
    cells.get(row).map((cell) => {
      const place = cell.querySelector("button") ?? cell;
      const written = place.textContent;
      const share = (100 * Number(written.replaceAll(",", "").replace("\u2212", "-"))) / Number(row.dataset.support);
      const signed = written.startsWith("+") ? "+" : "";
      return { place, counts: written, percent: share ? signed + share.toFixed(1).replace("-", "\u2212") : "0" };
    }),
  );
  return { body: table.tBodies[0], rows, cells, texts };
});

function arrange() {
  const [cellsAs, order] = ["cells", "order"].map((name) => switches.querySelector(`[name="${name}"]:checked`).value);
  for (const { body, rows, cells, texts } of matrices) {
    for (const text of texts) text.place.textContent = text[cellsAs];
    const places = [...rows.keys()];
    if (order === "file") places.sort((one, other) => rows[one].dataset.class - rows[other].dataset.class);
    body.append(...places.map((place) => rows[place]));
    for (const [row, there] of cells) row.append(...places.map((place) => there[place]));
  }
}

switches.hidden = false;
switches.addEventListener("change", arrange);
arrange(); // a browser keeps what was chosen before the page was loaded again
