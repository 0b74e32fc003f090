// One pair on the screen: its pictures in one of three views, and all that speaks for and against it.

import { grid } from "./bits.js";
import { $, $$, make } from "./dom.js";
import { spoken } from "./times.js";

const BLINK = 450; // ms a picture; below three flashes a second (WCAG 2.3.1)
const still = matchMedia("(prefers-reduced-motion: reduce)");
const percent = (share) => `${share >= 0.995 && share < 1 ? 99 : share > 0 && share < 0.01 ? 1 : Math.round(share * 100)} %`;
const many = (number) => number.toLocaleString();

const VIEWS = {
  beside: () => "",
  blink: (shown) => `${shown === "submitted" ? "The submitted picture" : "The known picture"}${still.matches ? "; B shows the other" : ""}`,
  difference: () => "What differs, four times as bright; black is equal.",
};

export class PairView {
  #timer = null;
  #shown = "submitted";
  #pair = null;

  constructor() {
    Object.assign(this, { article: $("#pair"), stage: $("#stage"), view: "beside" });
    for (const button of $$(".views button")) button.addEventListener("click", () => this.choose(button.dataset.view));
    still.addEventListener("change", () => this.choose(this.view));
  }

  /** Put a pair on the screen. */
  show(pair) {
    if (pair === this.#pair) return;
    this.#pair = pair;
    this.article.dataset.lookup = pair.lookup;
    this.#figure("submitted", pair.images.submitted, pair.submitted, "Submitted");
    this.#figure("nearest", pair.images.nearest, pair.nearest, "Known");
    this.#say(pair);
    for (const button of $$(".views button")) button.disabled = !pair.nearest && button.dataset.view !== "beside";
    this.choose(pair.nearest ? this.view : "beside");
  }

  /** Compare in this view. Choosing blink again stops it; where motion is unwelcome, it shows the other picture. */
  choose(view) {
    const again = view === this.view && view === "blink" && this.stage.dataset.view === "blink";
    clearInterval(this.#timer);
    this.view = view;
    this.stage.dataset.view = view;
    if (view === "blink" && !still.matches) this.#timer = setInterval(() => this.#swap(), BLINK);
    if (!again) this.#shown = "submitted";
    this.#mark();
  }

  /** What a key does: to a view and back. */
  toggle(view) {
    if (!this.#pair?.nearest) return;
    if (view === "blink" && this.view === "blink" && still.matches) return void this.#swap();
    this.choose(this.view === view ? "beside" : view);
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

  #figure(name, image, picture, title) {
    const figure = $(`#${name}`);
    const frame = $(".frame", figure);
    if (!image) {
      frame.replaceChildren(make("p", { class: "muted" }, "Nothing known is near."));
      $("figcaption", figure).replaceChildren(title);
      return;
    }
    if (name === "submitted") this.#shape(image);
    image.onerror = () => frame.replaceChildren(make("p", { class: "muted" }, "The picture cannot be shown."));
    frame.replaceChildren(image);
    const size = `${picture.format}, ${many(picture.width)} × ${many(picture.height)}`;
    const link = make("a", { href: picture.page, target: "_blank", rel: "noopener" }, title);
    $("figcaption", figure).replaceChildren(link, ` ${size}`);
  }

  /** Where pictures lie over each other, both take the shape of the submitted one, as fingerprints do. */
  #shape(image) {
    const shape = () => this.stage.style.setProperty("--shape", `${image.naturalWidth || 4} / ${image.naturalHeight || 3}`);
    shape();
    image.onload = shape;
  }

  #say(pair) {
    const { nearest, submitted, source } = pair;
    const bits = nearest && (nearest.distance === 1 ? "1 bit differs" : `${nearest.distance} bits differ`);
    $("#distance").textContent = !nearest ? "Nothing near is known" : nearest.distance ? bits : "The same fingerprint";
    $("#confidence").textContent = pair.confidence ? `Match confidence ${percent(pair.confidence)} (compared with ${many(pair.known)} pictures)` : "The fingerprint can’t decide: please look";
    $("#reasons").replaceChildren(...pair.reasons.map(({ words }) => make("li", {}, words)));
    const grids = [grid(submitted.hash, nearest?.hash, "submitted")];
    if (nearest) grids.push(grid(nearest.hash, submitted.hash, "known"));
    $("#bits").replaceChildren(...grids);
    $("#facts").replaceChildren(...facts(pair, source));
    const others = $("#others");
    others.hidden = !pair.others.length;
    $("ul", others).replaceChildren(...pair.others.map(other));
  }
}

function facts(pair, source) {
  const { submitted, nearest } = pair;
  const quality = (picture) => [percent(picture.quality), ...picture.quality_reasons].join(" · ");
  const rows = [["Quality", quality(submitted)]];
  if (submitted.names.length) rows.unshift(["Name", submitted.names.join(", ")]);
  if (nearest?.names.length) rows.push(["Known as", nearest.names.join(", ")]);
  if (nearest) rows.push(["Known's quality", quality(nearest)]);
  if (pair.alike) rows.push(["Decided with it", `${many(pair.alike)} blank pictures like it`]);
  if (pair.runner_up !== null) rows.push(["Next nearest", `${pair.runner_up} bits`]);
  if (source) {
    const filter = make("a", { href: `/review?document=${source.document}`, title: "Only pairs of this document" }, make("code", {}, `${source.document.slice(0, 16)}…`));
    const box = source.box.map((edge) => Math.round(edge)).join(", ");
    rows.push(["Document", filter], ["Page", `${many(source.page)}, box ${box} pt`]);
  }
  rows.push(["Submitted", spoken(pair.created_at)], ["By release", pair.release]);
  if (nearest) rows.push(["Known since", spoken(nearest.created_at)]);
  return rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
}

function other(near) {
  const image = make("img", { src: near.picture.replace(/large$/, "thumbnail"), alt: "", loading: "lazy", width: 64, height: 64 });
  const words = near.distance === 1 ? "1 bit" : `${near.distance} bits`;
  return make("li", {}, make("a", { href: near.page, target: "_blank", rel: "noopener" }, image, words));
}
