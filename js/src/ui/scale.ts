// Slider ticks ⇄ parameter values. Pure functions.
import type { Parameter } from "../protocol";
import { format } from "./format";

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
