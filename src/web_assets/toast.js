// A short word on what was just done, with a button to take it back; it goes by itself.

const SECONDS = 6;
const TO_ACT = 20; // s for what can be taken back: WCAG 2.2.1, and a phone has no other button for it
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
    const pressed = () => { place.remove(); act(); };
    button.addEventListener("click", pressed);
    // A browser may swallow the click of a tap that comes right after a swipe, as one that stops scrolling.
    button.addEventListener("touchend", (event) => {
      const [{ clientX, clientY }] = event.changedTouches;
      if (!button.contains(document.elementFromPoint(clientX, clientY))) return;
      event.preventDefault(); // then no click follows, which would meet what is below
      pressed();
    });
    place.append(button);
  }
  place.onpointerdown = () => clearTimeout(timer); // it does not go from under a finger
  timer = setTimeout(() => place.remove(), (label ? TO_ACT : SECONDS) * 1000);
}
