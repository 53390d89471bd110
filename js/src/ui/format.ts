// Formatting of numbers and units. Pure functions.
import type { Unit } from "../protocol";

/** All significant digits, without floating-point noise. */
export function format(value: number): string {
  return String(Number(value.toPrecision(12)));
}

/** As `format`, but computed values such as 0.21835188567638397 are rounded to fit a number box. */
export function formatFitting(value: number): string {
  const text = format(value);
  return text.length > 8 ? String(Number(value.toPrecision(4))) : text;
}

/** Three significant digits at a stable width, for numbers that change many times a second. */
export function formatShort(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text =
    size === 0 ? "0" : size >= 1e5 || size < 1e-3 ? value.toExponential(1) : value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 4);
  return text.replace("e+", "e").replaceAll("-", "−"); // a true minus is as wide as a digit
}

/** A fixed number of significant digits, for numbers that are compared with each other. */
export function formatDigits(value: number, digits = 3): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value) || size === 0) return formatShort(value);
  const large = Number(size.toPrecision(digits)) >= 10 ** digits; // toPrecision would write an exponent
  const text = size >= 1e5 || size < 1e-3 ? value.toExponential(digits - 1) : large ? value.toFixed(0) : value.toPrecision(digits);
  return text.replace("e+", "e").replaceAll("-", "−");
}

/** "1.8": one decimal, for numbers that fluctuate too much for more. */
export function formatCoarse(value: number): string {
  if (!(Math.abs(value) < 100)) return formatShort(value);
  const text = value.toFixed(1);
  return text === "-0.0" ? "0.0" : text.replace("-", "−");
}

/** 2417 → "2,417", in every locale. */
export function formatCount(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** A value with its unit, as read out by a screen reader. */
export function formatWithUnit(value: number, unit: string): string {
  const one = value === 1 && unit.endsWith("s") && unit.length > 2; // "1 frame", but "1 s"
  return unit ? `${format(value)} ${one ? unit.slice(0, -1) : unit}` : format(value);
}

/** The text of a unit: "3 three". */
export function unitText(unit: Unit): string {
  return unit.name ? `${unit.label} ${unit.name}` : unit.label;
}

/** "+0.12", "−1.5", "0": always signed. */
export function formatSigned(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  return (value > 0 ? "+" : "−") + formatDigits(Math.abs(value), digits);
}

/** A probability without its leading zero, to save space: ".93". */
export function formatScore(value: number): string {
  return formatShort(value).replace(/^0\./, ".");
}
