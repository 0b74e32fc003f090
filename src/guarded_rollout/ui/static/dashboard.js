// Keeps the page true: replaces the sections that changed, draws the lines, lets times run, says when it hears nothing.
import { Charts } from "./charts.js";

const page = document.getElementById("page");
const link = document.getElementById("link");
const QUIET_SECONDS = 6; // three ticks of the server

let ahead = page ? Number(page.dataset.now) - Date.now() / 1000 : 0; // how far the server's clock is ahead
let heard = performance.now();
let cursor = page?.dataset.cursor ?? "";
let version = page?.dataset.version ?? "";
let source = null;

const now = () => Date.now() / 1000 + ahead;

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
    one.textContent = words(Number(one.dataset.until) - now());
  }
}

// ---- sections

function replace(name, html) {
  const place = document.querySelector(`[data-section="${CSS.escape(name)}"]`);
  if (!place) return;
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  const opened = new Map([...place.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
  const scrolled = place.querySelector("pre")?.scrollTop ?? null;
  place.innerHTML = html; // rendered by the server, which escapes everything
  for (const one of place.querySelectorAll("details[id]")) if (opened.has(one.id)) one.open = opened.get(one.id);
  if (focused) document.getElementById(focused)?.focus();
  const output = place.querySelector("pre");
  if (output) output.scrollTop = scrolled === null ? output.scrollHeight : Math.max(scrolled, output.scrollHeight - output.clientHeight);
  runTimes(place);
  if (name === "headline") setTitle();
  if (name === "moves") charts?.traffic();
}

function setTitle() {
  const title = document.querySelector("[data-title]")?.dataset.title;
  if (title) document.title = title;
}

// ---- being told

const charts = page?.dataset.series ? new Charts(page.dataset.series, now) : null;

async function loadCharts() {
  cursor = await charts.load();
}

function hear(event, act) {
  source.addEventListener(event, (message) => {
    heard = performance.now();
    found();
    const data = JSON.parse(message.data);
    if (data.now) ahead = data.now - Date.now() / 1000;
    act(data);
  });
}

function connect() {
  source?.close();
  source = new EventSource(`${page.dataset.events}?version=${version}&cursor=${cursor}`);
  hear("tick", () => {});
  hear("restart", () => charts && loadCharts());
  hear("dots", (data) => {
    cursor = data.cursor;
    charts?.add(data.dots);
  });
  hear("state", (data) => {
    version = "";
    if (data.structure !== page.dataset.structure) return reload();
    for (const [name, html] of Object.entries(data.sections)) replace(name, html);
  });
  source.addEventListener("open", () => { heard = performance.now(); found(); });
  source.addEventListener("error", () => {
    lost();
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  });
}

// Another window or other gates: the page is made anew, but not under somebody's fingers.
function reload() {
  if (dialog?.open) dialog.addEventListener("close", () => location.reload(), { once: true });
  else location.reload();
}

function say(kind, text) {
  if (link.className !== kind || link.textContent !== text) {
    link.className = kind;
    link.textContent = text;
  }
}

const stale = document.getElementById("stale");

function lost() {
  const seconds = (performance.now() - heard) / 1000;
  say("lost", "connection lost");
  stale.textContent = `The dashboard does not answer: what you see is from ${words(seconds)} ago. It is asked again and again.`;
  stale.hidden = seconds < 2;
  document.body.classList.toggle("stale", seconds >= 2);
}

function found() {
  say("live", "live");
  stale.hidden = true;
  document.body.classList.remove("stale");
}

// ---- asking

const dialog = document.getElementById("ask");

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
  if (charts) loadCharts().catch(() => {}).finally(() => page.dataset.events && connect());
  else if (page.dataset.events) connect();
  if (page.dataset.events) {
    setInterval(() => {
      if (performance.now() - heard > QUIET_SECONDS * 1000 || link.className === "lost") lost();
    }, 1000);
    window.addEventListener("pagehide", () => source?.close());
    window.addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
  }
}
