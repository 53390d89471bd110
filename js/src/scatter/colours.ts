// Colours of points: classes in colours told apart with any colour vision, numbers from dark blue to yellow.

// Petroff, "Accessible color sequences for data visualization", arXiv:2107.02270; `embedding/figures.py` has them, too.
const CLASSES = ["3f90da", "ffa90e", "bd1f01", "94a4a2", "832db6", "a96b59", "e76300", "b9ac70", "717581", "92dadd"];
// Cividis (Nuñez, Anderton & Renslow 2018) at nine places: one order of lightness, whatever the colour vision.
const NUMBERS = ["00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "fee838"];

export const NONE = 255; // level of points without a class or number

export type Rgb = [red: number, green: number, blue: number];

const NOTHING: Record<"light" | "dark", Rgb> = { light: [176, 181, 189], dark: [92, 99, 110] };
const WHITE: Rgb = [255, 255, 255];
const BLACK: Rgb = [0, 0, 0];

export function rgbOf(hex: string): Rgb {
  return [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)) as Rgb;
}

/** Part of the way from one colour to another. */
export function mixed(from: Rgb, to: Rgb, share: number): Rgb {
  return from.map((value, i) => Math.round(value + (to[i]! - value) * share)) as Rgb;
}

/** The colour of a class; after ten, darker and lighter shades of the same. */
export function classColour(level: number, dark: boolean): Rgb {
  const base = rgbOf(CLASSES[level % CLASSES.length]!);
  const round = Math.floor(level / CLASSES.length) % 3;
  const plain = dark ? mixed(base, WHITE, 0.22) : base;
  return round === 0 ? plain : mixed(plain, (round === 1) === dark ? WHITE : BLACK, 0.4);
}

/** The colour of a number, 0…1. The end that is near to the background is left out. */
export function numberColour(share: number, dark: boolean): Rgb {
  const [first, last] = dark ? [0.25, 1] : [0, 0.93];
  const place = (first + Math.min(Math.max(share, 0), 1) * (last - first)) * (NUMBERS.length - 1);
  const below = Math.min(Math.floor(place), NUMBERS.length - 2);
  return mixed(rgbOf(NUMBERS[below]!), rgbOf(NUMBERS[below + 1]!), place - below);
}

/** The colour of every level, 0…255, as red, green, blue, … */
export function palette(type: "one" | "classes" | "numbers", dark: boolean): Uint8Array {
  const table = new Uint8Array(3 * 256);
  for (let level = 0; level < NONE; level++) table.set(type === "numbers" ? numberColour(level / 254, dark) : classColour(level, dark), 3 * level);
  table.set(NOTHING[dark ? "dark" : "light"], 3 * NONE);
  return table;
}

export function css([red, green, blue]: Rgb, opacity = 1): string {
  return opacity === 1 ? `rgb(${red}, ${green}, ${blue})` : `rgba(${red}, ${green}, ${blue}, ${opacity})`;
}

/** The colour bar of numbers as a CSS background. */
export function bar(dark: boolean): string {
  const stops = NUMBERS.map((_, i) => css(numberColour(i / (NUMBERS.length - 1), dark)));
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
