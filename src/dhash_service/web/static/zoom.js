// Zoom and pan of the pictures on a stage, all in step: by wheel, pinch, drag and keys. Places are shares of a
// frame from its middle, so frames of one shape show the same part. A finger's drag across what is not zoomed
// in is told as a swipe.

const CLOSEST = 16;
const STEP = 1.5;
const SWIPE = 90; // CSS pixels

/** Tells "zoom" when it has changed, "swiping" while a finger drags (detail: pixels) and "swiped" at the end. */
export class Zoom extends EventTarget {
  #scale = 1;
  #x = 0;
  #y = 0;
  #fingers = new Map();
  #from = null;

  constructor(stage) {
    super();
    this.stage = stage;
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, (event) => this.#up(event));
    stage.addEventListener("dblclick", (event) => (this.#scale > 1 ? this.fit() : this.by(3, ...this.#place(event))));
    stage.addEventListener("dragstart", (event) => event.preventDefault());
  }

  get scale() {
    return this.#scale;
  }

  closer() {
    this.by(STEP);
  }

  farther() {
    this.by(1 / STEP);
  }

  fit() {
    this.#set(1, 0, 0);
  }

  /** Zoom by a factor; what lies at this place stays there. */
  by(factor, x = 0, y = 0) {
    const scale = Math.min(CLOSEST, Math.max(1, this.#scale * factor));
    const share = scale / this.#scale;
    this.#set(scale, x - (x - this.#x) * share, y - (y - this.#y) * share);
  }

  /** Move by shares of a frame; whether there was anything to move. */
  pan(x, y) {
    if (this.#scale === 1) return false;
    this.#set(this.#scale, this.#x + x, this.#y + y);
    return true;
  }

  #set(scale, x, y) {
    const most = (scale - 1) / 2;
    const within = (value) => Math.min(most, Math.max(-most, value));
    [this.#scale, this.#x, this.#y] = [scale, within(x), within(y)];
    this.stage.style.setProperty("--zoom", this.#scale);
    this.stage.style.setProperty("--x", `${this.#x * 100}%`);
    this.stage.style.setProperty("--y", `${this.#y * 100}%`);
    this.stage.classList.toggle("zoomed", scale > 1);
    this.dispatchEvent(new Event("zoom"));
  }

  /** A pointer's place in its frame; the middle outside of one. */
  #place({ target, clientX, clientY }) {
    const frame = target.closest?.(".frame");
    if (!frame) return [0, 0];
    const { left, top, width, height } = frame.getBoundingClientRect();
    return [(clientX - left) / width - 0.5, (clientY - top) / height - 0.5];
  }

  #wheel(event) {
    if (!event.target.closest(".frame") || (this.#scale === 1 && event.deltaY > 0)) return; // then the page scrolls
    event.preventDefault();
    this.by(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), ...this.#place(event));
  }

  #down(event) {
    if (event.button || !event.target.closest(".frame")) return;
    this.#fingers.set(event.pointerId, event);
    this.#from = this.#fingers.size === 1 ? event : null;
    if (this.#scale > 1 || this.#fingers.size > 1) this.stage.setPointerCapture(event.pointerId);
  }

  #move(event) {
    const before = this.#fingers.get(event.pointerId);
    if (!before) return;
    const frame = before.target.closest(".frame").getBoundingClientRect();
    if (this.#fingers.size === 2) this.#pinch(event, frame);
    else if (this.#scale > 1) this.pan((event.clientX - before.clientX) / frame.width, (event.clientY - before.clientY) / frame.height);
    else if (event.pointerType !== "mouse" && this.#from) this.#tell("swiping", event.clientX - this.#from.clientX);
    this.#fingers.set(event.pointerId, { target: before.target, clientX: event.clientX, clientY: event.clientY });
  }

  #pinch(event, frame) {
    const [other] = [...this.#fingers].flatMap(([id, finger]) => (id === event.pointerId ? [] : [finger]));
    const before = this.#fingers.get(event.pointerId);
    const apart = (one) => Math.max(1, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY));
    const middle = [(event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2];
    const place = [(middle[0] - frame.left) / frame.width - 0.5, (middle[1] - frame.top) / frame.height - 0.5];
    this.by(apart(event) / apart(before), ...place);
  }

  #up(event) {
    if (!this.#fingers.delete(event.pointerId)) return;
    if (this.#from && event.pointerType !== "mouse" && this.#scale === 1) {
      const [across, along] = [event.clientX - this.#from.clientX, event.clientY - this.#from.clientY];
      const far = event.type === "pointerup" && Math.abs(across) > SWIPE && Math.abs(across) > 2 * Math.abs(along);
      this.#tell("swiped", far ? across : 0);
    }
    this.#from = null;
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
