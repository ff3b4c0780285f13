"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    const numeric = head.classList.contains("n");
    head.querySelector("button").addEventListener("click", () => {
      // Numbers begin with the largest, text with A; a second click turns the order round.
      const was = head.getAttribute("aria-sort");
      const order = was === "none" ? (numeric ? "descending" : "ascending")
        : was === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...body.rows].map((row) => [row.cells[column].dataset.key, row]);
      rows.sort(([a], [b]) => {
        if (a === "" || b === "") return (a === "") - (b === "");
        return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true }));
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
