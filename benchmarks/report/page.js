"use strict";
// On a phone, the list of lines would cover the figures.
if (matchMedia("(max-width: 45rem)").matches) document.querySelector(".methods").open = false;
const boxes = [...document.querySelectorAll("[data-line]")];
function show(box) {
  for (const part of document.getElementsByClassName(box.dataset.line)) part.classList.toggle("off", !box.checked);
}
for (const box of boxes) box.addEventListener("change", () => show(box));
for (const [id, on] of [["all", true], ["none", false]]) {
  document.getElementById(id).addEventListener("click", () => {
    for (const box of boxes) { box.checked = on; show(box); }
  });
}
// Numbers are sorted by value, words by letters; empty cells come last in both directions.
function key(cell) {
  const value = cell.dataset.value ?? cell.textContent;
  const number = Number(value);
  return value === "" || value === "nan" ? null : Number.isNaN(number) ? value : number;
}
for (const head of document.querySelectorAll("thead th")) {
  const button = head.querySelector("button");
  if (!button) continue;
  button.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = head.closest("table").tBodies[0];
    const place = [...head.parentElement.children].indexOf(head);
    const rows = [...body.rows].map((row) => [key(row.cells[place]), row]);
    rows.sort(([one], [other]) => {
      if (one === null || other === null) return (one === null) - (other === null);
      const order = typeof one === "number" && typeof other === "number"
        ? one - other : String(one).localeCompare(String(other), undefined, { numeric: true });
      return down ? -order : order;
    });
    body.append(...rows.map(([, row]) => row));
  });
}
