// Decisions on their way. Each is kept in the browser until the service has acknowledged it, and sent in order,
// again and again if need be: it has an id of its own, so the service takes it once however often it comes.

import { post, Problem } from "./http.js";

const PATHS = { decision: "/review/decisions", withdrawal: "/review/withdrawals" };
const FIRST_WAIT = 400; // ms; doubled after each try in vain
const LONGEST_WAIT = 15_000;
const FORGED = "/problems/forged-request"; // the page is of another session than the browser
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const AGAIN = new Set([0, 408, 425, 429, 500, 502, 503, 504]);

/** `state`: idle, sending, waiting (for the next try) or stopped (the session has ended). */
export class Outbox extends EventTarget {
  #items = new Map();
  #wake = null;

  constructor(reviewer, csrf, query) {
    super();
    Object.assign(this, { csrf, query, state: "idle", kept: true, problem: null });
    this.prefix = `dhash:outbox:${reviewer}:`;
    for (const [id, item] of this.#stored()) this.#items.set(id, item);
    addEventListener("online", () => this.#wake?.());
    addEventListener("storage", (event) => {
      // another page of the same reviewer has delivered it
      if (event.key?.startsWith(this.prefix) && event.newValue === null) this.#forget(event.key.slice(this.prefix.length));
    });
  }

  get items() {
    return [...this.#items.values()];
  }

  /** The lookups that were decided here and of which the service may not know yet. */
  get lookups() {
    return this.items.flatMap(({ body }) => (body.lookup ? [body.lookup] : []));
  }

  /** Keep something and send it as soon as what came before it was sent. */
  add(kind, body) {
    const item = { kind, body };
    this.#items.set(body.id, item);
    try {
      localStorage.setItem(this.prefix + body.id, JSON.stringify(item));
    } catch {
      this.kept = false; // no room, or not allowed: it lives as long as the page
    }
    this.#changed();
    this.send();
  }

  /** Send all that is kept; comes back when nothing is left, or the session has ended. */
  async send() {
    if (this.state === "sending" || this.state === "waiting" || this.state === "stopped") return;
    let failures = 0;
    while (this.#items.size && this.state !== "stopped") {
      const [id, item] = this.#items.entries().next().value;
      this.#become("sending");
      try {
        const said = await post(PATHS[item.kind] + this.query, item.body, { csrf: this.csrf });
        failures = 0;
        this.#forget(id);
        this.#tell("delivered", { item, said });
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        this.problem = problem;
        if (AGAIN.has(problem.status)) await this.#pause(failures++, problem);
        else if (problem.status === 401 || problem.type === FORGED) this.#become("stopped");
        else {
          this.#forget(id);
          this.#tell("refused", { item, problem });
        }
      }
    }
    if (this.state !== "stopped") {
      this.problem = null;
      this.#become("idle");
    }
  }

  #pause(failures, problem) {
    const doubled = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** failures) * (0.75 + Math.random() / 2);
    const wait = Math.max(doubled, (problem.retryAfter ?? 0) * 1000);
    this.#become("waiting");
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.#wake = () => { clearTimeout(timer); resolve(); };
    });
  }

  /** What earlier pages have left, in the order it was decided: the ids sort by time. */
  #stored() {
    try {
      return Object.keys(localStorage)
        .filter((key) => key.startsWith(this.prefix) && UUID.test(key.slice(this.prefix.length))) // not of `name:x`
        .sort()
        .map((key) => [key.slice(this.prefix.length), JSON.parse(localStorage.getItem(key))]);
    } catch {
      return [];
    }
  }

  #forget(id) {
    this.#items.delete(id);
    try {
      localStorage.removeItem(this.prefix + id);
    } catch {
      // it was never kept there
    }
    this.#changed();
  }

  #become(state) {
    this.state = state;
    this.#changed();
  }

  #changed() {
    this.#tell("change", {});
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
