// The review page: shows the pair before the reviewer, takes what they decide, and goes on at once.

import { Desk } from "./desk.js";
import { $, $$ } from "./dom.js";
import { ask } from "./http.js";
import { newId } from "./ids.js";
import { Keymap } from "./keymap.js";
import { Outbox } from "./outbox.js";
import { PairView } from "./pair_view.js";
import { toast } from "./toast.js";

const WORDS = { same: "Same", different: "Different", unsure: "Unsure" };
const PROGRESS = 10_000; // ms

const root = $("#review");
const start = JSON.parse(root.dataset.start);
const query = start.query ? `?${start.query}` : "";
const outbox = start.reviewer ? new Outbox(start.reviewer, start.csrf, query) : null;
const desk = new Desk({ ...start, query }, () => outbox?.lookups ?? []);
const view = new PairView();
const made = start.recent.map((id) => ({ id, pair: null })); // what undo takes back, the newest last
const fetched = new Set(); // decisions taken back whose pairs this page does not have
let notice = "";
let progress = start.progress;
let done = 0; // decided on this page
let counted = 0; // of them, those that the progress knows of

// ---- what is shown

function show() {
  const pair = desk.current;
  const state = pair ? "pair" : desk.away ? "away" : desk.exhausted && !desk.problem ? "nothing" : "waiting";
  if (pair) view.show(pair);
  root.dataset.state = state;
  $("#pair").hidden = state !== "pair";
  for (const name of ["waiting", "nothing", "away"]) $(`#${name}`).hidden = state !== name;
  $("#decide").hidden = state !== "pair" && !made.length;
  for (const button of $$("[data-verdict], #next")) button.disabled = !pair;
  if (outbox) $("#undo").disabled = !made.length;
  $("#waiting .big").textContent = desk.problem ? "Waiting for the service…" : "Fetching the next pair…";
  showTrouble();
}

function showTrouble() {
  const count = outbox?.items.length ?? 0;
  const waits = count === 1 ? "1 decision waits" : `${count} decisions wait`;
  const stopped = outbox?.state === "stopped" || desk.problem?.status === 401;
  const lines = [];
  if (stopped) lines.push(`Your session has ended.${count ? ` ${waits} here and will be sent once you sign in again.` : ""}`);
  else if (outbox?.state === "waiting" || (desk.problem && !desk.current)) {
    const why = outbox?.problem ?? desk.problem;
    const then = !count ? "It is tried again." : `${waits} here to be sent${desk.current ? "; you can go on" : ""}.`;
    lines.push(`${why?.detail ?? "The service does not answer."} ${then}`);
  }
  if (outbox && !outbox.kept && count) lines.push("This browser keeps nothing: leave the page open until they are sent.");
  if (notice) lines.push(notice);
  const trouble = $("#trouble");
  trouble.hidden = !lines.length;
  if (trouble.dataset.said !== lines.join(" ")) {
    trouble.dataset.said = lines.join(" ");
    trouble.replaceChildren(lines.join(" "));
    if (stopped) trouble.append(" ", signInLink());
  }
  const pending = $("#pending");
  if (pending) {
    pending.hidden = !count;
    pending.textContent = `${count} pending`;
  }
}

function signInLink() {
  const link = document.createElement("a");
  link.href = `/sign-in?${new URLSearchParams({ next: location.pathname + location.search })}`;
  link.textContent = "Sign in";
  return link;
}

function tell(words) {
  $("#told").textContent = words;
}

// ---- what a reviewer does

function decide(verdict) {
  const pair = desk.current;
  if (!pair || !outbox) return;
  const other = view.other ? `compared with ${view.other.id}` : "";
  const note = [$("#note").value.trim(), other].filter(Boolean).join("; ");
  const decision = { id: newId(), lookup: pair.lookup, verdict, note };
  $("#note").value = "";
  notice = "";
  made.push({ id: decision.id, pair });
  outbox.add("decision", decision); // before the next pairs are asked for: this one must not be among them
  done += 1;
  desk.advance({ decided: true });
  showPlace();
  const next = desk.current;
  toast(WORDS[verdict], "Undo", undo);
  tell(`${WORDS[verdict]}. ${next ? `Next pair: ${$("#distance").textContent}.` : ""}`);
}

function undo() {
  const last = made.pop();
  if (!last || !outbox) return;
  notice = "";
  done = Math.max(0, done - 1);
  outbox.add("withdrawal", { id: newId(), decision: last.id });
  if (last.pair) {
    delete last.pair.ends; // leased anew once the service has heard of it
    Object.assign(last.pair, { lease: null, undone: last.id });
    desk.putFirst(last.pair);
  } else fetched.add(last.id);
  show();
  toast("Taken back");
  tell("Taken back.");
}

function next() {
  if (!desk.current) return;
  notice = "";
  desk.advance({ decided: false });
  show();
}

const looking = {
  next, candidate: () => view.nextCandidate(),
  side: () => view.choose("side"), swipe: () => view.toggle("swipe"), blink: () => view.toggle("blink"), difference: () => view.toggle("difference"),
  closer: () => view.zoom.closer(), farther: () => view.zoom.farther(), fit: () => view.zoom.fit(),
};
const deciding = {
  same: () => decide("same"), different: () => decide("different"), unsure: () => decide("unsure"), undo, note: () => $("#note").focus(),
};
new Keymap(outbox ? { ...deciding, ...looking } : looking, (x, y) => view.zoom.pan(x / 10, y / 10));

document.addEventListener("keydown", (event) => {
  desk.touch();
  if (event.key === "Escape" && event.target.id === "note") event.target.blur();
});
document.addEventListener("pointerdown", () => desk.touch());

// A finger's swipe decides: to the right the same, to the left different.
const drawn = (across) => outbox && view.view !== "swipe" && Math.abs(across) > 20 && (across > 0 ? "same" : "different");
view.zoom.addEventListener("swiping", ({ detail }) => {
  const verdict = drawn(detail);
  $("#swiped").hidden = !verdict;
  if (verdict) Object.assign($("#swiped"), { textContent: WORDS[verdict], className: verdict });
});
view.zoom.addEventListener("swiped", ({ detail }) => {
  $("#swiped").hidden = true;
  if (drawn(detail)) decide(drawn(detail));
});
for (const button of $$("[data-verdict]")) button.addEventListener("click", () => decide(button.dataset.verdict));
$("#undo")?.addEventListener("click", undo);
$("#next").addEventListener("click", next);
$("#decide").addEventListener("submit", (event) => {
  event.preventDefault();
  $("#note").blur();
});
$("#go-on").addEventListener("click", () => {
  desk.touch();
  desk.away = false;
  desk.fill();
  show();
});

// ---- what comes back

desk.addEventListener("change", show);
desk.addEventListener("lost", () => {
  notice = "The pair you had before you was decided, or is with somebody else by now.";
});

let soon = null;
function hearProgress(wait) {
  clearTimeout(soon);
  soon = setTimeout(async () => {
    const day = new Date();
    day.setHours(0, 0, 0, 0);
    try {
      const known = done;
      progress = await ask(`/review/progress${query || "?"}${query ? "&" : ""}${new URLSearchParams({ day: day.toISOString() })}`);
      counted = known - (outbox?.items.length ?? 0);
      showPlace();
    } catch {
      // the numbers stay as they are until the service answers again
    }
    hearProgress(PROGRESS);
  }, wait);
}

/** “10 of 173, about 14 min left”. */
function showPlace() {
  const left = Math.max(0, progress.left - (done - counted));
  const place = outbox && left ? `${(done + 1).toLocaleString()} of ${(done + left).toLocaleString()}` : `${left.toLocaleString()} ${left === 1 ? "waits" : "wait"}`;
  $("#place").textContent = place;
  $("#eta").textContent = outbox && left && progress.pace ? `about ${long(left * progress.pace)} left` : "";
}

function long(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds / 10)) * 10} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

if (outbox) {
  for (const { kind, body } of outbox.items) if (kind === "decision") made.push({ id: body.id, pair: null });
  outbox.addEventListener("change", showTrouble);
  outbox.addEventListener("delivered", ({ detail: { item, said } }) => {
    if (item.kind === "withdrawal") takenBack(item.body.decision, said.pair);
    hearProgress(1000);
  });
  outbox.addEventListener("refused", ({ detail: { problem } }) => {
    notice = `Not recorded: ${problem.detail} ${problem.advice}`;
    showTrouble();
  });
  addEventListener("beforeunload", (event) => {
    if (!outbox.kept && outbox.items.length) event.preventDefault();
  });
  outbox.send();
}

/** A decision was taken back: its pair is leased to us again, or somebody else has it or decided before. */
function takenBack(decision, pair) {
  const here = desk.pairs.find((other) => other.undone === decision);
  if (here && pair) desk.renewed(here, pair.lease);
  else if (here) desk.drop(here);
  else if (pair && fetched.has(decision)) {
    desk.renewed(pair, pair.lease);
    desk.putFirst(pair);
  } else if (pair && !outbox.lookups.includes(pair.lookup)) desk.leave([pair]); // left before it was ours again
  fetched.delete(decision);
}

// A page that comes back from the browser's cache has given its pairs away.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

show();
showPlace();
markShown(desk.current).finally(() => desk.fill());
hearProgress(1000);

/** When the first pair was there to be seen, for whoever measures: pictures and all. */
async function markShown(pair) {
  if (!pair) return;
  await Promise.allSettled(Object.values(pair.images).map((image) => image?.decode()));
  requestAnimationFrame(() => performance.mark("pair shown"));
}
