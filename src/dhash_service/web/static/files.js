// Files that are dropped, pasted or chosen: they go to the service one by one, each with a row of its own
// that tells how it fares. Where the service is busy or away, a row says so and goes on later.

import { $, $$, make } from "./dom.js";
import { localize } from "./times.js";

const AT_ONCE = 3;
const MOST = 200;
const TRIES = 5;
const LONG = 2000; // ms after which a row counts the seconds
const HASH = /^[0-9a-f]{16}$/i;

const form = $("#look");
const waiting = [];
const stranded = new Set();
let going = 0;

/** Say something to those who hear the page. */
export const tell = (text) => { $("#told").textContent = text; };
const closed = () => $("fieldset", form).disabled;
const megabytes = (bytes) => `${Math.round(bytes / 1048576).toLocaleString()} MB`;

/** One file on its way: its row, and what can be done with it. */
class Errand {
  constructor(file, keep, variants) {
    Object.assign(this, { file, keep, variants, tries: 0, stop: new AbortController() });
    this.row = make("li", { class: "card file" });
    this.state = make("span", { class: "muted state" });
    this.bar = make("progress", { max: 1, "aria-label": file.name });
    this.show("waiting");
  }

  /** The row of a file under way. */
  show(state, ...buttons) {
    this.state.textContent = state;
    if (this.row.dataset.state === "going" && !buttons.length) return;
    this.row.dataset.state = "going";
    const cancel = button("Cancel", () => this.cancel());
    const name = make("strong", { class: "name" }, this.file.name);
    this.row.replaceChildren(make("div", { class: "going" }, name, this.state, ...buttons, cancel, this.bar));
  }

  cancel() {
    this.stop.abort();
    clearTimeout(this.again);
    stranded.delete(this);
    const place = waiting.indexOf(this);
    if (place >= 0) waiting.splice(place, 1);
    const detail = this.keep ? "What had arrived already is kept." : "Nothing was kept.";
    this.fail({ title: "Cancelled", detail, advice: "", tone: "warn" }, true);
  }

  async run() {
    const { signal } = this.stop = new AbortController();
    const begun = Date.now();
    let state = "sending";
    const clock = setInterval(() => {
      if (Date.now() - begun > LONG) this.show(`${state}, ${Math.round((Date.now() - begun) / 1000)} s`);
    }, 500);
    this.bar.removeAttribute("value");
    this.show(state);
    const answer = await post(this.file, this.keep, this.variants, signal, (share) => {
      state = share < 1 ? `sending, ${Math.round(share * 100)} %` : "reading";
      if (share < 1) this.bar.value = share; else this.bar.removeAttribute("value");
      this.show(state);
    });
    clearInterval(clock);
    if (!signal.aborted) this.settle(answer);
  }

  settle({ status, text, wait }) {
    if (status === 200) return this.done(text);
    this.tries += 1;
    if (status === 0) {
      stranded.add(this);
      return this.fail(
        { title: "No answer", detail: "The service cannot be reached.", advice: "The file is sent again when it is back." }, true,
      );
    }
    const problem = read(text, status);
    if ((status === 429 || status === 503) && this.tries <= TRIES) return this.retry(problem, (wait || 1) * 2 ** (this.tries - 1));
    return this.fail(problem, status >= 429 || status === 408, status === 401);
  }

  /** Too much at once: say so, say when it goes on, and go on then. */
  retry(problem, seconds) {
    this.bar.removeAttribute("value");
    this.show("", button("Try now", () => this.queue()));
    this.row.dataset.state = "busy";
    const count = (left) => {
      this.state.textContent = `${problem.title}: tried again in ${left} s`;
      this.again = setTimeout(() => (left > 1 ? count(left - 1) : this.queue()), 1000);
    };
    count(Math.ceil(seconds));
  }

  queue() {
    clearTimeout(this.again);
    stranded.delete(this);
    if (waiting.includes(this)) return;
    this.row.dataset.state = "";
    delete this.row.dataset.kind;
    this.show("waiting");
    waiting.push(this);
    work();
  }

  done(text) {
    const answer = $("article.answer", new DOMParser().parseFromString(text, "text/html"));
    if (!answer) return this.fail(read(text, 200), true);
    const acts = make("div", { class: "acts" });
    if (answer.dataset.kept === "no") acts.append(button("Keep it", () => this.anew(true)));
    this.row.dataset.state = "done";
    this.row.dataset.kind = answer.dataset.kind;
    this.#enlarge(answer);
    localize(answer);
    this.row.replaceChildren(answer, acts);
    sum();
    window.htmx?.process(this.row);
    return tell(`${this.file.name}: ${$(".headline .badge", answer)?.textContent ?? "looked at"}`);
  }

  /** The file itself is larger than the thumbnail that came back, where the browser can show it. */
  #enlarge(answer) {
    const pictures = $$(".shown > .thumbnail", answer);
    if (pictures.length !== 1 || !this.file.type.startsWith("image/")) return;
    const large = new Image();
    const address = URL.createObjectURL(this.file);
    large.onload = () => pictures[0].replaceWith(Object.assign(large, { className: "thumbnail", alt: "" }));
    large.onerror = () => URL.revokeObjectURL(address);
    large.src = address;
  }

  fail({ title, detail, advice, tone = "bad" }, again = false, signIn = false) {
    this.row.dataset.state = "failed";
    this.row.dataset.kind = "failed";
    const said = make("div", { class: `notice ${tone}` }, make("strong", {}, `${title}. `), `${detail} ${advice}`);
    const acts = make("div", { class: "acts" });
    if (again) acts.append(button("Try again", () => this.anew(this.keep)));
    if (signIn) acts.append(make("a", { class: "button", href: "/sign-in?next=/" }, "Sign in"));
    this.row.replaceChildren(make("h3", { class: "name" }, this.file.name), said, acts);
    tell(`${this.file.name}: ${title}`);
    sum();
  }

  anew(keep) {
    Object.assign(this, { keep, tries: 0 });
    this.queue();
    $("button", this.row).focus();
  }
}

const TONES = { known: "good", new: "plain", "to look at": "warn", failed: "bad" };

/** How many files there are of each kind, above them. */
function sum() {
  const rows = $$("#answers .file");
  const kinds = Object.keys(TONES).map((kind) => [kind, rows.filter((row) => row.dataset.kind === kind).length]);
  const left = rows.length - kinds.reduce((total, [, count]) => total + count, 0);
  const badges = kinds.filter(([, count]) => count).map(([kind, count]) => make("span", { class: `badge ${TONES[kind]}` }, `${count} ${kind}`));
  if (left) badges.push(make("span", { class: "muted" }, `${left} under way`));
  $("#summary").hidden = rows.length < 2;
  $("#summary").replaceChildren(...badges.flatMap((badge) => [badge, " "]));
}

function button(text, act) {
  const made = make("button", { type: "button" }, text);
  made.addEventListener("click", act);
  return made;
}

/** Send a file; what came back, with status 0 where nothing did. */
function post(file, keep, variants, signal, progress) {
  const body = new FormData();
  body.append("keep", keep ? "yes" : "");
  if (variants) body.append("variants", "yes");
  body.append("files", file);
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const end = () => resolve({
      status: request.status, text: request.responseText, wait: Number(request.getResponseHeader("Retry-After")),
    });
    request.open("POST", form.action);
    request.setRequestHeader("HX-Request", "true");
    request.upload.onprogress = (event) => progress(event.loaded / event.total);
    request.upload.onload = () => progress(1);
    request.onloadend = end;
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

/** A problem from its JSON; something else than the service may have answered. */
export function read(text, status) {
  try {
    const { title, detail, advice } = JSON.parse(text);
    return { title, detail, advice };
  } catch {
    return { title: "It did not work", detail: `The answer was ${status}.`, advice: "Try again." };
  }
}

/** Send again what found nobody. */
export function resume() {
  for (const errand of [...stranded]) if (errand.tries < TRIES) errand.queue();
}

function work() {
  while (going < AT_ONCE && waiting.length) {
    going += 1;
    waiting.shift().run().finally(() => { going -= 1; work(); });
  }
}

/** Take files in: a row for each, the newest first. */
function take(files, folders = []) {
  if (closed()) return tell("This service is locked: sign in first.");
  const list = $("#answers .files");
  const keep = form.elements.keep.value === "yes";
  const variants = form.elements.variants.checked;
  const rows = [];
  for (const file of files.slice(0, MOST)) {
    const errand = new Errand(file, keep, variants);
    rows.push(errand.row);
    if (folders.includes(file)) {
      errand.fail({ title: "A folder", detail: "Drop the files in it,", advice: "or index it whole: dhash index FOLDER." });
    } else if (file.size > Number(form.dataset.largest)) {
      errand.fail({
        title: "Too large", detail: `It has ${megabytes(file.size)}; ${megabytes(form.dataset.largest)} are allowed.`, advice: "",
      });
    } else if (!file.size) {
      errand.fail({ title: "Empty", detail: "There is nothing in this file.", advice: "" });
    } else {
      waiting.push(errand);
    }
  }
  if (files.length > MOST) {
    const left = (files.length - MOST).toLocaleString();
    rows.unshift(make("li", { class: "notice warn" }, `The first ${MOST} files were taken; ${left} more were not. For a whole folder there is: dhash index FOLDER.`));
  }
  if (!rows.length) return undefined;
  list.prepend(...rows);
  $("#answers").hidden = false;
  $(".empty")?.remove();
  rows[0].scrollIntoView({ block: "nearest" });
  sum();
  return work();
}

/** The files of a drop, and which of them are folders. */
function dropped(transfer) {
  const files = [...transfer.files];
  const kinds = [...transfer.items].filter((item) => item.kind === "file");
  return [files, files.filter((_, place) => kinds[place]?.webkitGetAsEntry?.()?.isDirectory)];
}

function search(text) {
  $("#hash").value = text;
  $("#by-hash").requestSubmit();
}

/** Take files from now on. */
export function listen() {
  const chosen = $("#files");
  chosen.addEventListener("change", () => { take([...chosen.files]); chosen.value = ""; });
  form.addEventListener("submit", (event) => { event.preventDefault(); take([...chosen.files]); });
  const over = (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    form.classList.toggle("over", event.type !== "drop" && !closed());
  };
  for (const kind of ["dragenter", "dragover", "drop"]) window.addEventListener(kind, over);
  window.addEventListener("drop", (event) => { if (event.dataTransfer?.files.length) take(...dropped(event.dataTransfer)); });
  window.addEventListener("dragleave", (event) => { if (!event.relatedTarget) form.classList.remove("over"); });
  window.addEventListener("paste", (event) => {
    const text = event.clipboardData.getData("text").trim();
    if (event.clipboardData.files.length) take([...event.clipboardData.files]);
    else if (HASH.test(text) && !event.target.closest("input, textarea") && !closed()) search(text);
  });
}
