// The search page's own part of the work: the state of the service stays fresh, and a search says how it went.
// Without scripts the page is plain forms and links, and works.

import { $, $$, make } from "./dom.js";
import { listen, read, resume, tell } from "./files.js";
import { localize } from "./times.js";

// ---- the state of the service

function watch() {
  const notice = $("#lost");
  const status = $("#status");
  let since = null;
  const say = (text) => {
    if (notice.textContent === text) return;
    notice.hidden = !text;
    notice.textContent = text;
  };
  const dot = (well, words) => {
    $("#dot").className = `dot ${well ? "good" : "bad"}`;
    $("#says").textContent = words;
    $(".state summary").setAttribute("aria-label", `The service: ${words}`);
  };
  const heard = () => {
    if (since) tell("The service answers again.");
    since = null;
    const health = $("[data-health]", status);
    dot(health.dataset.health === "ok", health.textContent);
    say(health.dataset.health === "ok" ? "" : `Not all is well: ${health.textContent}. Its state, at the top right, says what.`);
    resume();
  };
  const unheard = (request) => {
    since ??= new Date().toLocaleTimeString();
    const badge = $("[data-health]", status);
    badge.className = "badge bad";
    badge.textContent = "No answer";
    dot(false, "No answer");
    const why = request.status ? read(request.responseText, request.status).detail : "The service does not answer.";
    say(`${why} The rest is from before ${since}; it is asked again every few seconds.`);
  };
  document.body.addEventListener("htmx:afterRequest", ({ detail }) => {
    if (detail.elt !== status) return;
    if (detail.successful) heard(); else unheard(detail.xhr);
  });
  if ($("[data-health]", status).dataset.health !== "ok") heard();
}

// ---- searches by hash

function searches() {
  document.body.addEventListener("htmx:beforeSwap", ({ detail }) => {
    // A mistake in asking, or a store that fails, is a page with the reason on it.
    if (detail.target.id === "results" && detail.serverResponse.includes('id="results"')) detail.shouldSwap = true;
  });
  document.body.addEventListener("htmx:afterSettle", ({ detail }) => {
    if (detail.target.id !== "results") return;
    localize($("#results"));
    const mistake = $("#mistake").textContent;
    $("#hash").setAttribute("aria-invalid", String(Boolean(mistake)));
    if (mistake) $("#hash").focus();
    tell(mistake || $("#results-title")?.textContent || "");
  });
  const unanswered = ({ detail }) => {
    if (detail.elt.id === "status" || detail.xhr?.responseText?.includes('id="results"')) return;
    const { title, detail: why, advice } = detail.xhr?.status
      ? read(detail.xhr.responseText, detail.xhr.status)
      : { title: "No answer", detail: "The service cannot be reached.", advice: "Search again when it is back." };
    const said = make("div", { class: "notice bad", role: "alert" }, make("strong", {}, `${title}. `), `${why} ${advice}`);
    $("#results").replaceChildren(said);
  };
  for (const kind of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) document.body.addEventListener(kind, unanswered);
}

// ---- pictures without a thumbnail

function unseen(image) {
  if (image.matches?.("img.thumbnail")) image.replaceWith(make("span", { class: "missing" }, "no thumbnail"));
}

// ---- a known picture beside the files, which another page would leave behind

async function peek(address) {
  const answer = await fetch(address).catch(() => null);
  if (!answer?.ok) return location.assign(address);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  localize(page);
  const close = make("button", { type: "button", class: "close" }, "Close");
  const shown = make("dialog", { class: "peek", "aria-label": "A known picture" }, close, ...$("main", page).children);
  close.addEventListener("click", () => shown.close());
  shown.addEventListener("close", () => shown.remove());
  $("dialog.peek")?.close();
  document.body.append(shown);
  return shown.showModal();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("#answers :is(a.known, a.known-link), dialog.peek a.known");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  peek(link.href);
});

// A click beside the service's state closes it.
document.addEventListener("click", (event) => {
  const state = $(".state[open]");
  if (state && !state.contains(event.target)) state.open = false;
});

document.addEventListener("error", (event) => unseen(event.target), true);
for (const image of $$("img.thumbnail")) if (image.complete && !image.naturalWidth && image.currentSrc) unseen(image);
if ($("#look")) {
  document.documentElement.classList.add("scripted");
  listen();
  watch();
  searches();
}
