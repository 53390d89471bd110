// Slider ticks ⇄ parameter values, and how numbers are written. Pure functions.
import type { Parameter } from "./messages";

export const TICKS = 200;

type Range = Pick<Parameter, "low" | "high" | "log" | "zero" | "integer">;

export interface Scale {
  last: number; // ticks run from 0 to last
  value(tick: number): number;
  tick(value: number): number; // the nearest one
}

/** Ticks are integers so that an arrow key is always one step, whatever the browser rounds. */
export function makeScale(range: Range): Scale {
  const values = tickValues(range);
  return {
    last: values.length - 1,
    value: (tick) => values[Math.min(Math.max(Math.round(tick), 0), values.length - 1)]!,
    tick: (value) => nearest(values, value, range.log),
  };
}

function tickValues({ low, high, log, zero, integer }: Range): number[] {
  const bottom = zero && low > 0 ? [0] : [];
  if (log && low <= 0) {
    // A logarithm cannot reach 0: five decades below the top, and 0 itself as the leftmost tick.
    bottom.push(low);
    low = high * 1e-5;
  }
  if (!(high > low)) return [...bottom, low];
  if (integer && !log && high - low + bottom.length <= TICKS) {
    return [...bottom, ...Array.from({ length: high - low + 1 }, (_, i) => low + i)];
  }
  const steps = TICKS - bottom.length;
  const ratio = Math.log(high / low) / steps;
  const values: number[] = [];
  for (let i = 0; i <= steps; i++) {
    // The ends are exact: exp(log(high)) may miss it by an ulp and be out of range.
    const exact = i === 0 ? low : i === steps ? high : log ? low * Math.exp(ratio * i) : low + ((high - low) * i) / steps;
    const spacing = log ? exact * ratio : (high - low) / steps;
    const value = integer ? Math.round(exact) : i === 0 || i === steps ? exact : tidy(exact, spacing);
    // Integers on a logarithm meet the same value many times: every tick must change something.
    if (value !== values.at(-1)) values.push(value);
  }
  return [...bottom, ...values];
}

/** As many digits as tell neighbours apart tenfold, so that the number box stays readable. */
function tidy(value: number, spacing: number): number {
  const decimals = Math.ceil(1 - Math.log10(spacing));
  return decimals >= 0 ? Number(value.toFixed(Math.min(decimals, 100))) : Math.round(value);
}

function nearest(values: number[], value: number, log: boolean): number {
  let best = 0;
  let least = Infinity;
  for (const [tick, candidate] of values.entries()) {
    const apart =
      log && value > 0 && candidate > 0 ? Math.abs(Math.log(value / candidate)) : log && value !== candidate ? Infinity : Math.abs(value - candidate);
    if (apart < least) [best, least] = [tick, apart];
  }
  return best;
}

/** The allowed value nearest to what was typed, and why it is another one ("" if it is not). */
export function admit(parameter: Parameter, typed: number): { value: number; why: string } {
  const { low, high, zero, integer } = parameter;
  const lowest = zero ? Math.min(0, low) : low;
  if (typed > high) return { value: high, why: `at most ${format(high)}` };
  if (typed < lowest) return { value: lowest, why: `at least ${format(lowest)}` };
  if (typed < low && typed !== 0) return { value: typed < low / 2 ? 0 : low, why: `0, or at least ${format(low)}` };
  if (integer && !Number.isInteger(typed)) return { value: Math.round(typed), why: "whole numbers only" };
  return { value: typed, why: "" };
}

/** All digits that matter, none that float arithmetic made up. */
export function format(value: number): string {
  return String(Number(value.toPrecision(12)));
}

/** As `format`, but what was found and not typed, such as 0.21835188567638397, in as many digits as fit a number box. */
export function formatFitting(value: number): string {
  const text = format(value);
  return text.length > 8 ? String(Number(value.toPrecision(4))) : text;
}

/** Three significant digits in a steady width, for numbers that change many times a second. */
export function formatShort(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text =
    size === 0 ? "0" : size >= 1e5 || size < 1e-3 ? value.toExponential(1) : value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 4);
  return text.replace("-", "−"); // a true minus is as wide as a digit
}

/** So many significant digits, for numbers that are compared with each other. */
export function formatDigits(value: number, digits = 3): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value) || size === 0) return formatShort(value);
  const large = Number(size.toPrecision(digits)) >= 10 ** digits; // toPrecision would write an exponent
  const text = size >= 1e5 || size < 1e-3 ? value.toExponential(digits - 1) : large ? value.toFixed(0) : value.toPrecision(digits);
  return text.replace("e+", "e").replaceAll("-", "−");
}

/** "1.8", for numbers that move too much for more. */
export function formatCoarse(value: number): string {
  if (!(Math.abs(value) < 100)) return formatShort(value);
  const text = value.toFixed(1);
  return text === "-0.0" ? "0.0" : text.replace("-", "−");
}

/** 2417 → "2,417", the same in every locale. */
export function formatCount(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** A value with its unit, as read out by a screen reader. */
export function formatWithUnit(value: number, unit: string): string {
  return unit ? `${format(value)} ${unit}` : format(value);
}
