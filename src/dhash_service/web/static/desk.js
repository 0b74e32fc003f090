// The pairs before a reviewer: the one that is shown and the next ones, fetched and drawn ahead so that none is
// waited for. Each is leased; a lease is renewed while somebody works, and a pair without one is put away.

import { ask, post, Problem } from "./http.js";

const ENOUGH = 8;
const DRAWN_AHEAD = 4;
const MOST_NAMED = 500;
const PATIENCE = 3000; // ms between looks at an empty or silent queue

/** Tells "change" when the first pair may be another, "lost" with a pair that went to somebody else. */
export class Desk extends EventTarget {
  #asking = false;
  #after = null;
  #timer = null;
  #active = Date.now();

  /** `pending` gives the lookups that were decided and are still on their way to the service. */
  constructor(start, pending) {
    super();
    Object.assign(this, { csrf: start.csrf, leased: Boolean(start.reviewer), query: start.query, pending });
    Object.assign(this, { pairs: [], problem: null, exhausted: false, away: false, lease: start.lease_seconds });
    this.#take(start.pairs);
    this.exhausted = !this.pairs.length;
    if (this.leased) setInterval(() => this.#keep(), Math.max(500, Math.min(this.lease * 250, 30_000)));
    addEventListener("pagehide", () => this.leave());
  }

  get current() {
    return this.pairs[0] ?? null;
  }

  /** Somebody is working: their leases are renewed for a while yet. */
  touch() {
    this.#active = Date.now();
  }

  /** Put the current pair away and have the next one; a pair that was not decided goes back to the others. */
  advance({ decided }) {
    const [gone] = this.pairs.splice(0, 1);
    if (gone && !decided) this.leave([gone]);
    this.#changed();
    this.fill();
    return gone;
  }

  /** Show this pair now, the current one after it. */
  putFirst(pair) {
    this.pairs = [pair, ...this.pairs.filter((other) => other.lookup !== pair.lookup)];
    Object.assign(this, { exhausted: false, away: false });
    this.#changed();
  }

  /** Take a pair away that somebody else has, or has decided. */
  drop(pair) {
    this.#putAway((other) => other === pair);
  }

  /** Lease a pair anew that was taken back. */
  renewed(pair, lease) {
    Object.assign(pair, { lease, ends: Date.now() + lease.seconds * 1000 });
  }

  /** Have the next pairs ready. Goes on asking where nobody answers or nothing waits yet. */
  async fill() {
    clearTimeout(this.#timer);
    if (this.#asking || this.away || this.pairs.length > ENOUGH / 2) return;
    this.#asking = true;
    try {
      const { pairs } = await (this.leased ? this.#lease() : this.#browse());
      this.problem = null;
      this.exhausted = !pairs.length;
      this.#take(pairs);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.problem = problem;
    } finally {
      this.#asking = false;
    }
    this.#changed();
    if ((this.problem || this.exhausted) && this.problem?.status !== 401) this.#timer = setTimeout(() => this.fill(), PATIENCE);
  }

  /** Give pairs back, all of them unless said otherwise. The page may be on its way out, so nobody waits. */
  leave(pairs = this.pairs) {
    const claims = pairs.flatMap((pair) => (pair.lease ? [pair.lease.claim] : []));
    if (!this.leased || !claims.length) return;
    fetch("/review/leave", {
      method: "POST", keepalive: true, credentials: "same-origin", body: JSON.stringify({ claims }),
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRF-Token": this.csrf },
    }).catch(() => {}); // then the lease ends by itself
  }

  #lease() {
    const without = [...this.pairs.map((pair) => pair.lookup), ...this.pending()].slice(0, MOST_NAMED);
    return post(`/review/pairs${this.query}`, { after: this.#after, number: ENOUGH, without }, { csrf: this.csrf });
  }

  #browse() {
    const place = this.#after ? `${this.query ? "&" : "?"}after=${this.#after}` : "";
    const number = `${this.query || place ? "&" : "?"}number=${ENOUGH}`;
    return ask(`/review/pairs${this.query}${place}${number}`);
  }

  #take(pairs) {
    const here = new Set([...this.pairs.map((pair) => pair.lookup), ...this.pending()]);
    for (const pair of pairs) {
      if (pair.lease) this.renewed(pair, pair.lease);
      if (!here.has(pair.lookup)) this.pairs.push(pair);
    }
    if (pairs.length) this.#after = pairs.at(-1).lookup;
    this.#drawAhead();
  }

  /** Load and decode the pictures of the next pairs, so that showing them takes no time. */
  #drawAhead() {
    for (const pair of this.pairs.slice(0, DRAWN_AHEAD)) pair.images ??= images(pair);
  }

  /** Renew what will end soon, and put away what has ended. */
  async #keep() {
    this.#putAway((pair) => pair.ends !== undefined && Date.now() > pair.ends);
    const soon = Date.now() + this.lease * 500;
    const ending = this.pairs.filter((pair) => pair.ends < soon);
    if (!ending.length || Date.now() - this.#active > this.lease * 2000) return;
    try {
      const lookups = ending.map((pair) => pair.lookup);
      const { leases } = await post(`/review/leases${this.query}`, { lookups }, { csrf: this.csrf });
      for (const pair of ending) {
        const lease = leases[pair.lookup];
        if (lease) this.renewed(pair, lease);
      }
      this.#putAway((pair) => ending.includes(pair) && !leases[pair.lookup]);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem; // tried again until the lease ends
    }
  }

  #putAway(isLost) {
    const lost = this.pairs.filter(isLost);
    if (!lost.length) return;
    const shown = this.current;
    this.pairs = this.pairs.filter((pair) => !lost.includes(pair));
    if (!this.pairs.length && Date.now() - this.#active > this.lease * 1000) this.away = true;
    if (lost.includes(shown)) this.dispatchEvent(new CustomEvent("lost", { detail: { pair: shown } }));
    this.#changed();
    this.fill();
  }

  #changed() {
    this.#drawAhead();
    this.dispatchEvent(new CustomEvent("change"));
  }
}

function images(pair) {
  const load = (picture, alt) => {
    const image = new Image();
    image.alt = alt;
    image.src = picture.picture;
    image.decode().catch(() => {}); // shown as missing when its turn comes
    return image;
  };
  return {
    submitted: load(pair.submitted, "The submitted picture"),
    nearest: pair.nearest ? load(pair.nearest, "The nearest known picture") : null,
  };
}
