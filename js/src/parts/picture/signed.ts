// Differences in colour: one byte a pixel, where level 128 is exactly 0 and the levels 1…255 run from −s to +s.
import { h, setText } from "../../ui/dom";
import { formatSigned } from "../../ui/format";

const ZERO = 128;
const NOTHING = 1e-12; // a range so small is that of equal pictures
const LAST = 127; // levels from 0 to either end
const STOPS = [-127, -96, -64, -32, 0, 32, 64, 96, 127]; // of the legend

interface Ends {
  neutral: number; // lightness of 0, as light or dark as the page
  lightness: number; // of both ends
  chroma: number;
  hues: [number, number]; // degrees: less, more
}

// Blue against red and blue against orange are told apart by every common kind of colour blindness. In OKLab both ends
// have one lightness and one chroma, so that neither sign looks stronger than the other.
const ENDS: Record<"light" | "dark", Ends> = {
  light: { neutral: 1, lightness: 0.5, chroma: 0.15, hues: [255, 30] },
  dark: { neutral: 0.2, lightness: 0.74, chroma: 0.13, hues: [245, 55] },
};
const tables = new Map<boolean, Uint32Array>();

/** The colour of each level, as little-endian RGBA. */
export function signedColors(dark: boolean): Uint32Array {
  const known = tables.get(dark);
  if (known) return known;
  const table = Uint32Array.from({ length: 256 }, (_, level) => {
    const [r, g, b] = colorAt(level - ZERO, dark);
    return (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
  });
  tables.set(dark, table);
  return table;
}

/** The value of a level, where levels 1 and 255 are the ends of the range. */
export function signedValue(level: number, [low, high]: [number, number]): number {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return NaN; // pixels ran off: JSON has null for it
  return (low + high) / 2 + ((high - low) / 2) * (Math.max(level - ZERO, -LAST) / LAST);
}

/** A small bar of the colours with the values of its ends. */
export class SignedLegend {
  readonly element: HTMLElement;
  #ends = [h("span"), h("span", {}, "0"), h("span")] as const;

  constructor(dark: boolean, caption = "") {
    const bar = h("div.ldam-signed-bar");
    const stops = STOPS.map((offset) => `rgb(${colorAt(offset, dark).join(" ")})`);
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

/** There is little room: "+.80", "+1e−7". */
function formatEnd(value: number): string {
  const digits = Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 ? 1 : 2;
  return formatSigned(value, digits).replace(/^([+−])0\./, "$1.");
}

function colorAt(offset: number, dark: boolean): [number, number, number] {
  const { neutral, lightness, chroma, hues } = ENDS[dark ? "dark" : "light"];
  const share = Math.min(Math.abs(offset) / LAST, 1);
  const angle = (hues[offset < 0 ? 0 : 1] * Math.PI) / 180;
  const strength = chroma * share ** 0.8; // small differences show their sign
  return fromOklab(neutral + share * (lightness - neutral), strength * Math.cos(angle), strength * Math.sin(angle));
}

/** Björn Ottosson, A perceptual color space for image processing, 2020. */
function fromOklab(lightness: number, a: number, b: number): [number, number, number] {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    toByte(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    toByte(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    toByte(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

function toByte(linear: number): number {
  const encoded = linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
  return Math.round(255 * Math.min(Math.max(encoded, 0), 1));
}
