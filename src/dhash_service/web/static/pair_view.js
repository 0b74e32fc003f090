// One pair on the screen: its pictures in one of four views, the candidates, and what speaks for and against.

import { grid } from "./bits.js";
import { $, $$, make } from "./dom.js";
import { spoken } from "./times.js";
import { Zoom } from "./zoom.js";

const BLINK = 450; // ms a picture; below three flashes a second (WCAG 2.3.1)
const CLOSE = 1.4; // from this zoom on the original is worth fetching whole
const FETCHED = 1024; // px of an original that is shown at first
const still = matchMedia("(prefers-reduced-motion: reduce)");
const percent = (share) => `${share >= 0.995 && share < 1 ? 99 : share > 0 && share < 0.01 ? 1 : Math.round(share * 100)} %`;
const many = (number) => number.toLocaleString();
const bits = (number) => (number === 1 ? "1 bit" : `${number} bits`);

const VIEWS = {
  side: () => "",
  swipe: () => "",
  blink: (shown) => `${shown === "submitted" ? "The submitted picture" : "The known picture"}${still.matches ? "; choose Blink again for the other" : ""}`,
  difference: () => "Four times as bright; black is equal",
};

export class PairView {
  #timer = null;
  #shown = "submitted";
  #pair = null;
  #known = null; // the candidate that is shown

  constructor() {
    Object.assign(this, { article: $("#pair"), stage: $("#stage"), view: "side" });
    this.zoom = new Zoom(this.stage);
    for (const button of $$(".views button")) button.addEventListener("click", () => this.#pick(button.dataset.view));
    still.addEventListener("change", () => this.choose(this.view));
    this.zoom.addEventListener("zoom", () => this.#zoomed());
    const divider = $("#divider");
    divider.addEventListener("input", () => this.stage.style.setProperty("--divider", `${divider.value}%`));
    for (const [id, does] of [["#zoom-in", "closer"], ["#zoom-out", "farther"], ["#zoom-fit", "fit"]]) {
      $(id).addEventListener("click", () => this.zoom[does]());
    }
  }

  /** The candidate that is shown, where it is not the nearest. */
  get other() {
    return this.#known && this.#known !== this.#pair.nearest ? this.#known : null;
  }

  /** Put a pair on the screen. */
  show(pair) {
    if (pair === this.#pair) return;
    this.#pair = pair;
    this.article.dataset.lookup = pair.lookup;
    this.zoom.fit();
    this.#strip();
    this.#compare(pair.nearest, pair.images.nearest);
    for (const button of $$(".views button")) button.disabled = !pair.nearest && button.dataset.view !== "side";
    this.choose(pair.nearest ? this.view : "side");
  }

  /** What a button does: to a view; choosing Blink again shows the other picture where motion is unwelcome. */
  #pick(view) {
    if (view === "blink" && this.view === "blink" && still.matches) this.#swap();
    else this.choose(view);
  }

  /** Compare in this view. */
  choose(view) {
    const again = view === this.view && view === "blink" && this.stage.dataset.view === "blink";
    clearInterval(this.#timer);
    this.view = view;
    this.stage.dataset.view = view;
    $("#divider").hidden = view !== "swipe";
    if (view === "blink" && !still.matches) this.#timer = setInterval(() => this.#swap(), BLINK);
    if (!again) this.#shown = "submitted";
    this.#mark();
  }

  /** What a key does: to a view and back. */
  toggle(view) {
    if (!this.#pair?.nearest) return;
    if (view === "blink" && this.view === "blink" && still.matches) return void this.#swap();
    this.choose(this.view === view ? "side" : view);
  }

  /** Show the next candidate, after the last one the nearest. */
  nextCandidate() {
    const buttons = $$("#strip button");
    const now = buttons.findIndex((button) => button.getAttribute("aria-pressed") === "true");
    buttons[(now + 1) % buttons.length]?.click();
  }

  #swap() {
    this.#shown = this.#shown === "submitted" ? "nearest" : "submitted";
    this.#mark();
  }

  #mark() {
    this.stage.dataset.shown = this.#shown;
    $("#stage-says").textContent = VIEWS[this.view](this.#shown);
    for (const button of $$(".views button")) button.setAttribute("aria-pressed", String(button.dataset.view === this.view));
  }

  #zoomed() {
    const { scale } = this.zoom;
    $("#zoom").textContent = scale === 1 ? "Fit" : `${scale < 10 ? scale.toFixed(1) : Math.round(scale)}×`;
    if (scale < CLOSE || !this.#pair) return;
    for (const [name, picture] of [["submitted", this.#pair.submitted], ["nearest", this.#known]]) {
      const image = $(`#${name} img`);
      if (!image || !picture?.original || image.dataset.close || Math.max(picture.width, picture.height) <= FETCHED) continue;
      image.dataset.close = "yes";
      image.src = `${picture.picture}?close=true`;
    }
  }

  /** The candidates, the nearest first. */
  #strip() {
    const pair = this.#pair;
    const found = pair.nearest ? [pair.nearest, ...pair.others] : [];
    $("#candidates").hidden = found.length < 2;
    $("#strip").replaceChildren(...found.map((near) => {
      const image = make("img", { src: near.picture.replace(/large$/, "thumbnail"), alt: "", loading: "lazy" });
      const name = make("span", { class: "visually-hidden" }, ` ${near.names[0] ?? ""}`);
      const button = make("button", { type: "button", "aria-pressed": String(near === pair.nearest) }, image, near.distance ? bits(near.distance) : "same bits", name);
      button.addEventListener("click", () => this.#choose(near));
      return make("li", {}, button);
    }));
  }

  #choose(near) {
    const pair = this.#pair;
    $$("#strip button").forEach((button, place) => button.setAttribute("aria-pressed", String([pair.nearest, ...pair.others][place] === near)));
    pair.images.others ??= new Map([[pair.nearest, pair.images.nearest]]);
    if (!pair.images.others.has(near)) pair.images.others.set(near, make("img", { src: near.picture, alt: "A known picture" }));
    this.#compare(near, pair.images.others.get(near));
  }

  /** Put a known picture, or none, beside the submitted one. */
  #compare(known, image) {
    const pair = this.#pair;
    this.#known = known;
    this.#figure("submitted", pair.images.submitted, pair.submitted, known);
    this.#figure("nearest", image, known, pair.submitted);
    this.#say(pair, known);
    this.#zoomed();
  }

  #figure(name, image, picture, beside) {
    const frame = $(`#${name} .frame`);
    const caption = $(`#${name} figcaption`);
    const title = name === "submitted" ? "Submitted" : "Known";
    if (!image) {
      frame.replaceChildren(make("p", { class: "muted" }, "Nothing known is near."));
      return caption.replaceChildren(make("strong", {}, title));
    }
    if (name === "submitted") this.#shape(image);
    image.onerror = () => frame.replaceChildren(make("p", { class: "muted" }, "The picture cannot be shown."));
    frame.replaceChildren(image);
    const link = make("a", { href: picture.page, target: "_blank", rel: "noopener" }, title);
    const badge = picture.original ? [] : [make("span", { class: "badge" }, "thumbnail only")];
    return caption.replaceChildren(make("strong", {}, link), ...badge, ...about(picture, beside));
  }

  /** Where pictures lie over each other, both take the shape of the submitted one, as fingerprints do. */
  #shape(image) {
    const shape = () => {
      const [width, height] = [image.naturalWidth || 4, image.naturalHeight || 3];
      this.stage.style.setProperty("--shape", `${width} / ${height}`);
      this.stage.style.setProperty("--ratio", width / height);
    };
    shape();
    image.onload = shape;
  }

  #say(pair, known) {
    const { submitted } = pair;
    const differ = known && (known.distance === 1 ? "1 of 64 bits differs" : `${known.distance} of 64 bits differ`);
    $("#distance").textContent = !known ? "Nothing near is known" : known.distance ? differ : "The same fingerprint";
    $("#confidence").textContent = pair.confidence ? `Match confidence ${percent(pair.confidence)} (compared with ${many(pair.known)} ${pair.known === 1 ? "picture" : "pictures"})` : "The fingerprint can’t decide: please look";
    const [first, ...more] = pair.reasons;
    $("#why").textContent = first?.words ?? "";
    $("#reasons").replaceChildren(...more.map(({ words }) => make("li", {}, words)));
    const grids = [grid(submitted.hash, known?.hash, "submitted")];
    if (known) grids.push(grid(known.hash, submitted.hash, "known"));
    $("#bits").replaceChildren(...grids);
    $("#facts").replaceChildren(...facts(pair, known));
  }
}

/** What is known of a picture, in few words; those stand out that another picture's differ from. */
function about(picture, other) {
  const said = (one) => [
    one.format, `${many(one.width)} × ${many(one.height)}`, size(one.size), `quality ${percent(one.quality)}`, one.tags.join(", "),
  ];
  const others = other ? said(other) : said(picture);
  const parts = said(picture).map((words, place) => (words && make(words === others[place] ? "span" : "mark", {}, words)));
  return [
    picture.names.length ? make("span", { class: "name" }, picture.names.join(", ")) : "",
    ...parts, make("span", {}, spoken(picture.created_at)),
  ].filter(Boolean);
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(bytes < 1e4 ? 1 : 0)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function facts(pair, known) {
  const { source } = pair;
  const rows = [];
  for (const [name, picture] of [["Submitted", pair.submitted], ["Known", known]]) {
    if (picture?.quality_reasons.length) rows.push([name, picture.quality_reasons.join(" ")]);
  }
  if (pair.alike) rows.push(["Decided with it", `${many(pair.alike)} blank pictures like it`]);
  if (pair.runner_up !== null) rows.push(["Next nearest", bits(pair.runner_up)]);
  if (source) {
    const filter = make("a", { href: `/review?document=${source.document}`, title: "Only pairs of this document" }, make("code", {}, `${source.document.slice(0, 16)}…`));
    const box = source.box.map((edge) => Math.round(edge)).join(", ");
    rows.push(["Document", filter], ["Page", `${many(source.page)}, box ${box} pt`]);
  }
  rows.push(["Submitted", spoken(pair.created_at)], ["By release", make("span", { title: pair.release }, pair.release_name)]);
  return rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
}
