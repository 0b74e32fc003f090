// Keeps the page true: htmx polls for the sections that changed; this keeps what is open in them, draws the
// lines, lets times run, and says when nobody answers.
import { Charts } from "./charts.js";

const page = document.getElementById("page");
const link = document.getElementById("link");
const stale = document.getElementById("stale");
const dialog = document.getElementById("ask");
const polls = page?.hasAttribute("hx-get");

const ahead = page ? Number(page.dataset.now) - Date.now() / 1000 : 0; // how far the server's clock is ahead
const now = () => Date.now() / 1000 + ahead;
const charts = page?.dataset.series ? new Charts(page.dataset.series, now) : null;
let heard = performance.now();
let etag = "";

function words(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} days`;
}

function runTimes(root = document) {
  for (const one of root.querySelectorAll("[data-at]")) {
    one.title ||= one.textContent;
    one.textContent = `${words(now() - Number(one.dataset.at))} ago`;
  }
  for (const one of root.querySelectorAll("[data-since]")) {
    one.title ||= one.textContent;
    one.textContent = `for ${words(now() - Number(one.dataset.since))}`;
  }
  for (const one of root.querySelectorAll("[data-until]")) {
    one.title ||= one.textContent;
    const left = Number(one.dataset.until) - now();
    one.textContent = words(left);
    one.closest(".following")?.toggleAttribute("hidden", left < 0); // the share is held for longer
  }
}

// ---- sections

const shown = new Map(); // what each section was served as, before its times ran
for (const one of document.querySelectorAll("[data-section]")) shown.set(one.dataset.section, one.innerHTML);

// Leave a section alone that shows the same; else open in the new one what is open in the old.
function beforeSwap(event) {
  const { target, fragment } = event.detail;
  const name = target.dataset.section;
  if (shown.get(name) === fragment.innerHTML) return event.preventDefault();
  shown.set(name, fragment.innerHTML);
  for (const one of fragment.querySelectorAll("details[id]")) {
    const old = document.getElementById(one.id);
    if (old) one.open = old.open;
  }
  target.scrolled = target.querySelector("pre")?.scrollTop ?? null;
}

function afterSwap({ detail: { target } }) {
  const output = target.querySelector("pre");
  if (output) output.scrollTop = Math.max(target.scrolled ?? output.scrollHeight, output.scrollHeight - output.clientHeight);
  runTimes(target);
  if (target.dataset.section === "headline") setTitle();
}

function setTitle() {
  const title = document.querySelector("[data-title]")?.dataset.title;
  if (title) document.title = title;
}

// ---- polling

function answered({ detail: { xhr } }) {
  heard = performance.now();
  say("live", "live");
  stale.hidden = true;
  document.body.classList.remove("stale");
  if (xhr.status === 200) {
    etag = xhr.getResponseHeader("ETag") ?? "";
    charts?.follow();
  }
}

function lost() {
  const seconds = (performance.now() - heard) / 1000;
  say("lost", "connection lost");
  stale.textContent = `The dashboard does not answer: what you see is from ${words(seconds)} ago. Retrying…`;
  stale.hidden = seconds < 2;
  document.body.classList.toggle("stale", seconds >= 2);
}

function say(kind, text) {
  if (link.className !== kind || link.textContent !== text) {
    link.className = kind;
    link.textContent = text;
  }
}

if (polls) {
  page.addEventListener("htmx:configRequest", ({ detail }) => { if (etag) detail.headers["If-None-Match"] = etag; });
  page.addEventListener("htmx:afterRequest", (event) => (event.detail.xhr.status in { 200: 1, 304: 1 } ? answered(event) : lost()));
  // A page is not loaded again under somebody's fingers.
  page.addEventListener("htmx:beforeOnLoad", (event) => { if (dialog?.open && event.detail.xhr.getResponseHeader("HX-Refresh")) event.preventDefault(); });
  page.addEventListener("htmx:oobBeforeSwap", beforeSwap);
  page.addEventListener("htmx:oobAfterSwap", afterSwap);
}

// ---- asking

async function ask(address) {
  const answer = await fetch(address, { headers: { "X-Part": "question" } });
  dialog.innerHTML = await answer.text(); // rendered by the server, which escapes everything
  dialog.showModal();
  dialog.querySelector("#typed, #why, button")?.focus();
}

document.addEventListener("click", (event) => {
  const asked = event.target.closest("a[data-ask]");
  if (asked && dialog && !event.metaKey && !event.ctrlKey) {
    event.preventDefault();
    ask(asked.href).catch(() => location.assign(asked.href));
  }
  if (event.target.closest("[data-close]") && dialog?.open) {
    event.preventDefault();
    dialog.close();
  }
});
document.addEventListener("submit", (event) => {
  const button = event.target.querySelector("button.primary, button.danger, button");
  setTimeout(() => { if (button) button.disabled = true; }); // once is enough
});

if (page) {
  runTimes();
  setTitle();
  setInterval(runTimes, 1000);
  charts?.follow();
}
