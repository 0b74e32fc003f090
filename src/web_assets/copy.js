// Buttons that copy the text they carry, or that of the element they name; without a clipboard they select it.

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copies]");
  if (!button) return;
  event.preventDefault();
  const from = button.dataset.copies ? document.getElementById(button.dataset.copies) : null;
  const text = from ? from.textContent : button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1500);
  } catch {
    if (from) getSelection().selectAllChildren(from);
    else prompt("", text); // a page without https has no clipboard
  }
});
