// A question edited in its place.

/** Open a turn for editing. `onSave(text)` gets another text than it had; `attach` is textbox.js's. */
export function edit(turn, { text, attach, onSave }) {
  if ("editing" in turn.dataset) return;
  const form = document.getElementById("editor").content.firstElementChild.cloneNode(true);
  const box = form.elements.text;
  const before = turn.querySelector("[data-body]").textContent;
  const close = () => {
    form.remove();
    delete turn.dataset.editing;
    turn.querySelector("[data-edit]").focus();
  };
  const save = () => {
    if (!box.value.trim()) return;
    close();
    if (box.value !== before) onSave(box.value);
  };
  box.value = text ?? before;
  turn.dataset.editing = "";
  turn.append(form);
  attach(box, () => form.requestSubmit());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
  form.querySelector("[data-cancel]").addEventListener("click", close);
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing) return;
    event.preventDefault(); // Escape would stop an answer as well
    close();
  });
  box.focus();
  box.setSelectionRange(box.value.length, box.value.length);
}
