// A fingerprint as an 8×8 grid: row by row, bit 63 first. Bits that differ carry a cross, not only a colour.

import { draw, make } from "./dom.js";

const CELL = 10;

/** The bits of 16 hex digits, from the top left on. */
export const bitsOf = (hash) => [...hash].flatMap((digit) => [...parseInt(digit, 16).toString(2).padStart(4, "0")].map(Number));

/** One grid, with those bits marked in which it differs from another hash. */
export function grid(hash, other, title) {
  const bits = bitsOf(hash);
  const others = other ? bitsOf(other) : bits;
  const svg = draw("svg", { viewBox: `0 0 ${8 * CELL} ${8 * CELL}`, role: "img", "aria-label": said(title, bits, others) });
  bits.forEach((bit, index) => {
    const [x, y] = [(index % 8) * CELL, Math.floor(index / 8) * CELL];
    svg.append(draw("rect", { x: x + 0.5, y: y + 0.5, width: CELL - 1, height: CELL - 1, class: bit ? "one" : "zero" }));
    if (bit !== others[index]) {
      const cross = `M${x + 2.5} ${y + 2.5}l5 5M${x + 7.5} ${y + 2.5}l-5 5`;
      svg.append(draw("path", { d: cross, class: `cross on-${bit ? "one" : "zero"}` }));
    }
  });
  return make("figure", {}, svg, make("figcaption", {}, make("span", {}, title), " ", make("code", {}, hash)));
}

function said(title, bits, others) {
  const places = bits.flatMap((bit, index) => (bit === others[index] ? [] : [`row ${Math.floor(index / 8) + 1} column ${(index % 8) + 1}`]));
  return places.length ? `Bits of ${title}; these differ: ${places.join(", ")}` : `Bits of ${title}`;
}
