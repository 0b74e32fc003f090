// The page of duplicates: groups are decided in place, and by keyboard.

import { $, $$, make } from "./dom.js";
import { toast } from "./toast.js";

const WORDS = { same: ["good", "Same"], different: ["bad", "Different"], unsure: ["warn", "Unsure"] };
const KEYS = { s: "same", d: "different", u: "unsure" };
const groups = $$(".group");
const keys = $("#keys");

// Single keys can be turned off (WCAG 2.1.4), here as on the page of review.
try {
  if (keys) keys.checked = localStorage.getItem("dhash:keys") !== '"off"';
} catch {
  // then they are on
}
keys?.addEventListener("change", () => {
  try {
    localStorage.setItem("dhash:keys", JSON.stringify(keys.checked ? "on" : "off"));
  } catch {
    // then they are on again on the next page
  }
});

const current = () => groups.indexOf(document.activeElement.closest?.(".group"));

function go(place) {
  const group = groups[Math.min(groups.length - 1, Math.max(0, place))];
  group?.focus();
  group?.scrollIntoView({ block: "nearest" });
}

/** Send a group's decision; the page stays, and the next group is at hand. */
async function decide(group, verdict) {
  const form = $("form", group);
  const body = new URLSearchParams(new FormData(form));
  body.set("verdict", verdict);
  const answer = await fetch(form.action, { method: "POST", body, credentials: "same-origin" }).catch(() => null);
  const [tone, words] = WORDS[verdict];
  if (!answer?.ok) {
    $(".verdict", group).replaceChildren(make("span", { class: "badge bad" }, "Not recorded: try again"));
    return;
  }
  $(".verdict", group).replaceChildren(make("span", { class: `badge ${tone}` }, verdict));
  $("#told").textContent = `${words}: ${$("h2", group).textContent}`;
  toast(words);
  go(groups.indexOf(group) + 1);
}

document.addEventListener("submit", (event) => {
  const group = event.target.closest(".group");
  if (!group || !event.submitter?.value) return;
  event.preventDefault();
  decide(group, event.submitter.value);
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=radio], [type=checkbox]), select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || !keys?.checked) return;
  const key = event.key.toLowerCase();
  const place = current();
  if (key === "j") go(place + 1);
  else if (key === "k") go(place - 1);
  else if (place < 0) return;
  else if (key in KEYS && $(".decide", groups[place])) decide(groups[place], KEYS[key]);
  else if (key >= "1" && key <= "9") $$("input[name=keep]", groups[place])[key - 1]?.click();
  else return;
  event.preventDefault();
});

document.addEventListener("error", (event) => {
  if (event.target.matches?.("img.thumbnail")) event.target.replaceWith(make("span", { class: "missing" }, "no thumbnail"));
}, true);
