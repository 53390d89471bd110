// Slider ticks ⇄ parameter values. Pure functions.
import type { Parameter } from "../protocol";
import { format } from "./format";

export const TICKS = 200;

type Range = Pick<Parameter, "low" | "high" | "log" | "zero" | "integer">;

export interface Scale {
  last: number; // ticks run from 0 to last
  value(tick: number): number;
  tick(value: number): number; // the nearest tick
}

/** Ticks are integers so that an arrow key is always one step, regardless of browser rounding. */
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
    // A log scale cannot reach 0: it spans five decades below `high`, with `low` itself as the leftmost tick.
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
    // The ends are exact: exp(log(high)) may be off by an ulp and out of range.
    const exact = i === 0 ? low : i === steps ? high : log ? low * Math.exp(ratio * i) : low + ((high - low) * i) / steps;
    const spacing = log ? exact * ratio : (high - low) / steps;
    const value = integer ? Math.round(exact) : i === 0 || i === steps ? exact : tidy(exact, spacing);
    // Rounded integers on a log scale repeat; every tick must change the value.
    if (value !== values.at(-1)) values.push(value);
  }
  return [...bottom, ...values];
}

/** Rounds to a tenth of the tick spacing or finer, so that the number box stays readable. */
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

/** The allowed value nearest to the typed one, and why it differs ("" if it does not). */
export function admit(parameter: Parameter, typed: number): { value: number; why: string } {
  const { low, high, zero, integer } = parameter;
  const lowest = zero ? Math.min(0, low) : low;
  if (typed > high) return { value: high, why: `at most ${format(high)}` };
  if (typed < lowest) return { value: lowest, why: `at least ${format(lowest)}` };
  if (typed < low && typed !== 0) return { value: typed < low / 2 ? 0 : low, why: `0, or at least ${format(low)}` };
  if (integer && !Number.isInteger(typed)) return { value: Math.round(typed), why: "whole numbers only" };
  return { value: typed, why: "" };
}
