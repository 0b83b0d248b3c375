// Tables that a reader sorts and filters. It only moves and hides what the page already holds as text.
//
// Sorting: <table class="sortable"> whose <th> hold <button type="button">; a cell's data-value is what it sorts by
// (a number where it reads as one), else its text; a cell with an empty data-value is unknown and stays last.
//
// Filtering: <form class="filters" data-for="ID ID"> with <select name=N> and <input type=search name="q">. An entry has data-f-N attributes: a <tr data-entry>, or in a table of several places
// a <td data-entry> (several values of one name stand on lines of their own) whose row hides with the last of its entries and whose column hides by its <th data-f-N>.
// A <tr class="band"> is a line above the rows that belong together: it hides with the last of them, and goes when the
// table is sorted.
// <output data-count="ID"> inside the form says how many of the table's entries are left.
"use strict";
(() => {
  const rank = (cell) => {
    if (!cell) return null;
    const raw = cell.dataset.value ?? cell.textContent.trim();
    if (raw === "") return null;
    const number = Number(raw);
    return Number.isNaN(number) ? raw : number;
  };
  const order = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "number") return -1;
    if (typeof b === "number") return 1;
    return a.localeCompare(b, "en", { numeric: true });
  };

  function sort(table, column, direction) {
    const body = table.tBodies[0];
    for (const band of body.querySelectorAll("tr.band")) band.remove(); // what was put together is sorted now
    const rows = [...body.rows].map((row) => [rank(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return direction * order(a, b);
    });
    body.append(...rows.map(([, row]) => row));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(table, column, down ? -1 : 1);
      });
    });
  }

  const wanted = (form) => {
    const asked = [];
    for (const field of form.querySelectorAll("select")) if (field.value) asked.push([`data-f-${field.name}`, field.value]);
    const words = (form.querySelector("input[name=q]")?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    return { asked, words };
  };
  const matches = (entry, asked) =>
    asked.every(([name, value]) => !entry.hasAttribute(name) || entry.getAttribute(name).split("\n").includes(value));

  function filter(form) {
    const { asked, words } = wanted(form);
    for (const id of form.dataset.for.split(" ")) {
      const table = document.getElementById(id);
      let shown = 0, all = 0;
      const columns = [...table.tHead.querySelectorAll("th")].map((head) => matches(head, asked));
      [...table.tHead.querySelectorAll("th")].forEach((head, k) => { head.hidden = !columns[k]; });
      let band = null;
      for (const row of table.tBodies[0].rows) {
        if (row.classList.contains("band")) {
          band = row;
          band.hidden = true;
          continue;
        }
        const cells = [...row.querySelectorAll("td[data-entry]")];
        const entries = cells.length ? cells : [row];
        let any = false;
        for (const entry of entries) {
          const text = () => `${row.textContent} ${entry.getAttribute("data-text") ?? ""}`.toLowerCase();
          const fits = matches(entry, asked) && words.every((word) => text().includes(word));
          if (cells.length) entry.classList.toggle("filtered", !fits);
          any ||= fits;
          all += 1;
          shown += fits ? 1 : 0;
        }
        row.hidden = !any;
        if (any && band) band.hidden = false;
        if (cells.length) [...row.cells].forEach((cell, k) => { cell.hidden = columns[k] === false; });
      }
      const count = form.querySelector(`output[data-count="${CSS.escape(id)}"]`);
      if (count) count.textContent = shown === all ? `${all} entries` : `${shown} of ${all} entries`;
    }
  }

  for (const form of document.querySelectorAll("form.filters")) {
    for (const kind of ["input", "change"]) form.addEventListener(kind, () => filter(form));
    form.addEventListener("reset", () => setTimeout(() => filter(form)));
    form.addEventListener("submit", (event) => event.preventDefault());
    filter(form);
  }
})();
