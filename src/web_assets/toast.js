// A short word on what was just done, with a button to take it back; it goes by itself.

const SECONDS = 6;
let timer = null;

/** Show `words` in the page's corner; `act` is done by a button named `label`. */
export function toast(words, label, act) {
  clearTimeout(timer);
  const place = document.querySelector(".toast") ?? document.body.appendChild(document.createElement("div"));
  place.className = "toast";
  place.replaceChildren(words);
  if (label) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", () => { place.remove(); act(); });
    place.append(button);
  }
  timer = setTimeout(() => place.remove(), SECONDS * 1000);
}
