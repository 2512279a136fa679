// What forms do with script: select all rows, count the selection, drop files. Every form works without.

for (const all of document.querySelectorAll("input[data-select-all]")) {
  const form = all.form;
  const boxes = () => [...form.querySelectorAll(`input[type=checkbox][name="${CSS.escape(all.dataset.selectAll)}"]`)];
  const count = form.querySelector("[data-selected-count]");
  const update = () => {
    const chosen = boxes().filter((box) => box.checked).length;
    all.checked = chosen > 0 && chosen === boxes().length;
    all.indeterminate = chosen > 0 && !all.checked;
    if (count !== null) count.textContent = chosen === 0 ? "none selected" : `${chosen} selected`;
  };
  all.closest("[hidden]")?.removeAttribute("hidden");
  all.addEventListener("change", () => {
    for (const box of boxes()) box.checked = all.checked;
    update();
  });
  form.addEventListener("change", update);
  update();
}

for (const area of document.querySelectorAll("[data-drop]")) {
  const input = area.querySelector("input[type=file]");
  for (const name of ["dragenter", "dragover"]) {
    area.addEventListener(name, (event) => {
      event.preventDefault();
      area.toggleAttribute("data-over", true);
    });
  }
  for (const name of ["dragleave", "drop"]) {
    area.addEventListener(name, () => area.toggleAttribute("data-over", false));
  }
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length === 0) return;
    input.files = event.dataTransfer.files;
    input.form.requestSubmit();
  });
}

// A second click must not send a form twice. On the document, since a refresh replaces forms.
document.addEventListener("submit", ({ target: form }) => {
  if (form.method !== "post") return;
  setTimeout(() => {
    for (const button of form.querySelectorAll("button")) button.disabled = true;
  });
});

addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const button of document.querySelectorAll("form[method=post] button")) button.disabled = false;
});
