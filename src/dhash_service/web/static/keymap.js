// The keys of the review page: which does what, shown by `?`, and set by whoever uses them.

import { $, $$, make } from "./dom.js";

const ACTIONS = {
  same: ["s", "Same picture"], different: ["d", "Different pictures"], unsure: ["u", "Unsure"],
  undo: ["z", "Undo"], next: ["n", "Next, without a decision"], note: ["m", "Write a note"],
  candidate: ["c", "Next candidate"],
  side: ["x", "Side by side"], swipe: ["w", "Swipe"], blink: ["b", "Blink"], difference: ["v", "Difference"],
  closer: ["+", "Zoom in"], farther: ["-", "Zoom out"], fit: ["0", "Fit the whole picture"],
};
const PANS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const PLACE = "dhash:keymap";

function stored(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function store(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // then it holds as long as the page
  }
}

export class Keymap {
  #keys; // of each action
  #on;

  /** `does`: what each action does; one that is missing is not offered. `pan` is told where to. */
  constructor(does, pan) {
    Object.assign(this, { does, pan, dialog: $("#keymap") });
    const own = stored(PLACE, {});
    this.#keys = Object.fromEntries(Object.keys(does).map((name) => [name, own[name] ?? ACTIONS[name][0]]));
    this.#on = stored("dhash:keys", "on") !== "off"; // WCAG 2.1.4: speech input would trip over single keys
    document.addEventListener("keydown", (event) => this.#pressed(event));
    $("#help").addEventListener("click", () => this.open());
    this.#show();
  }

  #pressed(event) {
    const typing = event.target.closest?.("input:not([type=checkbox], [type=range]), select, textarea, dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (!this.#on) return;
    const sliding = event.target.matches?.("input[type=range]");
    if (event.key in PANS && !sliding) return void (this.pan(...PANS[event.key]) && event.preventDefault());
    if (event.repeat) return;
    if (event.key === "?") return void this.open();
    const key = event.key === "=" ? "+" : event.key.toLowerCase();
    const name = Object.keys(this.#keys).find((action) => this.#keys[action] === key);
    if (!name) return;
    event.preventDefault();
    this.does[name]();
  }

  /** The keys on the buttons. */
  #show() {
    for (const place of $$("[data-key]")) {
      const key = this.#keys[place.dataset.key];
      place.textContent = (key ?? "").toUpperCase();
      place.hidden = !key || !this.#on;
      place.closest("button")?.setAttribute("aria-keyshortcuts", this.#on ? key : "");
    }
  }

  /** Show all keys; each can be set to another. */
  open() {
    const rows = Object.entries(this.#keys).map(([name, key]) => {
      const field = make("input", { id: `key-${name}`, value: key, size: 2, maxlength: 1, autocomplete: "off", spellcheck: "false" });
      field.addEventListener("focus", () => field.select());
      field.addEventListener("input", () => this.#set(name, field));
      return make("div", {}, make("label", { for: field.id }, ACTIONS[name][1]), field);
    });
    const on = make("input", { type: "checkbox", id: "keys" });
    on.checked = this.#on;
    on.addEventListener("change", () => {
      this.#on = on.checked;
      store("dhash:keys", on.checked ? "on" : "off");
      this.#show();
    });
    const close = make("button", { type: "button", class: "primary" }, "Done");
    const reset = make("button", { type: "button" }, "Usual keys");
    close.addEventListener("click", () => this.dialog.close());
    reset.addEventListener("click", () => {
      for (const name of Object.keys(this.#keys)) this.#keys[name] = ACTIONS[name][0];
      store(PLACE, {});
      this.#show();
      this.dialog.close();
      this.open();
    });
    this.dialog.replaceChildren(
      make("h2", { id: "keymap-title" }, "Keys"),
      make("label", { class: "check" }, on, " Single keys decide and compare"),
      make("p", { class: "bad", id: "keymap-says", role: "alert" }),
      make("div", { class: "keymap" }, ...rows),
      make("p", { class: "muted" }, "Arrows move what is zoomed in; the wheel, and two fingers, zoom. ? shows this."),
      make("div", { class: "row" }, close, reset),
    );
    this.dialog.showModal();
  }

  #set(name, field) {
    const key = field.value.toLowerCase();
    const taken = Object.keys(this.#keys).find((other) => other !== name && this.#keys[other] === key);
    $("#keymap-says").textContent = taken ? `“${key}” is taken: ${ACTIONS[taken][1]}.` : key === "?" ? "“?” shows the keys." : "";
    field.setAttribute("aria-invalid", String(Boolean(taken || key === "?")));
    if (!key || taken || key === "?") return;
    this.#keys[name] = key;
    const own = Object.entries(this.#keys).filter(([action, set]) => set !== ACTIONS[action][0]);
    store(PLACE, Object.fromEntries(own));
    this.#show();
  }
}
