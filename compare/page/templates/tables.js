// Sorts a table by the column whose head is pressed, and finds rows by their name, items of a list by their text.
"use strict";
for (const table of document.querySelectorAll("table.sorted")) {
  const body = table.tBodies[0];
  const inOrder = [...body.rows];
  const heads = [...table.tHead.rows].at(-1).cells;
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const way = { ascending: "descending", descending: null }[head.ariaSort]; // the third time as it was
      for (const other of heads) other.ariaSort = null;
      if (way !== null) head.ariaSort = way ?? "ascending";
      body.append(...(way === null ? inOrder : sorted(inOrder, head.cellIndex, head.ariaSort)));
    });
  }
}

// Rows by a column, its names as words, its numbers by their value; what is none comes last.
function sorted(rows, column, way) {
  const keys = new Map(rows.map((row) => [row, row.cells[column].dataset.value ?? row.cells[column].textContent.trim()]));
  const number = (row) => Number(keys.get(row).replaceAll(",", "").replace("\u2212", "-"));
  const sign = way === "ascending" ? 1 : -1;
  return [...rows].sort((one, other) => {
    if (one.cells[column].localName === "th") {
      return sign * keys.get(one).localeCompare(keys.get(other), undefined, { numeric: true });
    }
    const [mine, its] = [number(one), number(other)];
    return isNaN(mine) || isNaN(its) ? isNaN(mine) - isNaN(its) : sign * (mine - its);
  });
}

for (const search of document.querySelectorAll("[data-searches]")) {
  const list = document.getElementById(search.dataset.searches);
  const rows = [...(list.tBodies?.[0].rows ?? list.children)];
  const input = search.querySelector("input");
  search.hidden = false;
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !(row.cells?.[0] ?? row).textContent.toLowerCase().includes(wanted);
    search.querySelector("output").value = `${rows.filter((row) => !row.hidden).length} / ${rows.length}`;
  });
}
