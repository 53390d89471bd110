// Colours for differences: one byte per pixel, where level 128 is exactly 0 and levels 1…255 run from −s to +s.
import colours from "../../../../ldam_widget/pictures/difference_colours.json";
import { h, setText } from "../../ui/dom";
import { formatSigned } from "../../ui/format";

const ZERO = 128;
const NOTHING = 1e-12; // a range smaller than this means equal pictures
const LAST = 127; // levels from zero to either end
const STOPS = [-127, -96, -64, -32, 0, 32, 64, 96, 127]; // levels of the legend's gradient, relative to zero

// Blue against red and blue against orange are distinguishable with every common kind of colour blindness. In OKLab both
// ends have the same lightness and chroma, so that neither sign looks stronger. Snapshots and figures use the same
// colours: Python reads the same JSON file.
const tables = new Map<boolean, Uint32Array>();

/** The colour of each level, as little-endian RGBA. */
export function signedColors(dark: boolean): Uint32Array {
  const known = tables.get(dark);
  if (known) return known;
  const table = Uint32Array.from(hexes(dark), (hex) => {
    const [r, g, b] = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)) as [number, number, number];
    return (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
  });
  tables.set(dark, table);
  return table;
}

/** The value of a level, where levels 1 and 255 are the ends of the range. */
export function signedValue(level: number, [low, high]: [number, number]): number {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return NaN; // diverged pixels
  return (low + high) / 2 + ((high - low) / 2) * (Math.max(level - ZERO, -LAST) / LAST);
}

/** A small colour bar with the values at its ends. */
export class SignedLegend {
  readonly element: HTMLElement;
  #ends = [h("span"), h("span", {}, "0"), h("span")] as const;

  constructor(dark: boolean, caption = "") {
    const bar = h("div.ldam-signed-bar");
    const stops = STOPS.map((offset) => `#${hexes(dark)[ZERO + offset]}`);
    bar.style.setProperty("--ldam-signed", `linear-gradient(to right, ${stops.join(", ")})`);
    this.element = h("div.ldam-signed", {}, caption && h("small", {}, caption), bar, h("div.ldam-signed-ends", {}, ...this.#ends));
  }

  set range([low, high]: [number, number]) {
    const none = Number.isFinite(low) && Number.isFinite(high) && high - low < NOTHING;
    setText(this.#ends[0], none ? "" : formatEnd(low));
    setText(this.#ends[1], none ? "no difference" : "0");
    setText(this.#ends[2], none ? "" : formatEnd(high));
  }
}

/** Short form for little space: "+.80", "+1e−7". */
function formatEnd(value: number): string {
  const digits = Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 ? 1 : 2;
  return formatSigned(value, digits).replace(/^([+−])0\./, "$1.");
}

function hexes(dark: boolean): string[] {
  return dark ? colours.dark : colours.light;
}
