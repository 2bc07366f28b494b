"use strict";
// The page is whole without this: it adds what needs a reader's hand, tips, sorting and filtering.

const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
document.body.append(tip);

function showTip(point) {
  const box = point.getBoundingClientRect();
  tip.textContent = point.getAttribute("aria-label");
  tip.classList.add("shown");
  const half = tip.offsetWidth / 2;
  const middle = Math.min(Math.max(box.left + box.width / 2, half + 8), innerWidth - half - 8);
  const above = box.top > tip.offsetHeight + 12;
  tip.style.left = `${middle - half + scrollX}px`;
  tip.style.top = `${(above ? box.top - tip.offsetHeight - 8 : box.bottom + 8) + scrollY}px`;
}

function hideTip() {
  tip.classList.remove("shown");
}

// A figure is one stop of the Tab key; arrow keys go from point to point, Enter opens the run.
for (const figure of document.querySelectorAll("figure svg")) {
  const points = [...figure.querySelectorAll(".point")];
  points.forEach((point, place) => {
    const title = point.querySelector("title");
    point.setAttribute("aria-label", title.textContent);
    point.setAttribute("role", "img");
    point.setAttribute("tabindex", place ? -1 : 0);
    title.remove();
    const link = point.querySelector("a");
    link?.setAttribute("tabindex", -1);
    point.addEventListener("pointerenter", () => showTip(point));
    point.addEventListener("pointerleave", hideTip);
    point.addEventListener("focus", () => showTip(point));
    point.addEventListener("blur", hideTip);
    point.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step) {
        const next = points[(place + step + points.length) % points.length];
        point.setAttribute("tabindex", -1);
        next.setAttribute("tabindex", 0);
        next.focus();
        event.preventDefault();
      } else if (event.key === "Escape") {
        hideTip();
      } else if (event.key === "Enter") {
        link?.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
      }
    });
  });
}

function number(text) {
  const found = text.replace(/\u2212/g, "-").replace(/,(?=\d{3})/g, "").match(/^[<=+ ]*-?\d[\d.]*(e-?\d+)?/);
  return found ? Number(found[0].replace(/[<=+ ]/g, "")) : NaN;
}

function compare(one, other) {
  const [a, b] = [number(one), number(other)];
  if (Number.isNaN(a) !== Number.isNaN(b)) return Number.isNaN(a) ? 1 : -1;
  return Number.isNaN(a) ? one.localeCompare(other) : a - b;
}

for (const table of document.querySelectorAll("main table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 3) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const text = (row) => row.cells[column]?.textContent.trim() ?? "";
      const rows = [...body.rows].sort((a, b) => compare(text(a), text(b)) * (down ? -1 : 1));
      body.append(...rows);
    });
  });
  if (body.rows.length < 8) continue;
  const filter = document.createElement("input");
  filter.type = "search";
  filter.placeholder = "Filter rows";
  filter.setAttribute("aria-label", "Filter the rows of this table");
  filter.addEventListener("input", () => {
    const asked = filter.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(asked);
  });
  table.parentElement.before(filter);
}

// A link to a run's row opens what hides it.
function openTarget() {
  document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest("details")?.setAttribute("open", "");
}
addEventListener("hashchange", openTarget);
openTarget();
