// What frames measure of the sampler, in words: the thermometer, and how often proposals are accepted. Pure functions.
import { unitText, type Frame, type Unit } from "./messages";
import { formatShort } from "./scale";

export interface Reading {
  text: string;
  each: string[]; // a line a neuron
  warns: boolean;
}

const FAR = 0.05; // of the temperature asked for: further off is a warning

/** "measured 1.01 T", mean over neurons; in absolute numbers where the temperature asked for is 0. */
export function temperatureOf(temperature: Frame["temperature"], neurons: Unit[]): Reading | null {
  if (!temperature) return null;
  const { asked, measured } = temperature;
  const of = (value: number) => (asked === 0 ? twoDigits(value) : `${ratio(value / asked)} T`);
  const average = meanOf(measured);
  if (average === null) return null;
  const warns = asked !== 0 && Math.abs(average / asked - 1) > FAR;
  return { text: `${warns ? "⚠\ufe0e " : ""}measured ${of(average)}`, each: lines(measured, neurons, of), warns };
}

/** "accepts 87 %", mean over neurons. */
export function acceptanceOf(acceptance: Frame["acceptance"], neurons: Unit[]): Reading | null {
  const average = acceptance ? meanOf(acceptance) : null;
  if (!acceptance || average === null) return null;
  const of = (value: number) => `${Math.round(100 * value)} %`;
  return { text: `accepts ${of(average)}`, each: lines(acceptance, neurons, of), warns: false };
}

/** Mean of what is known. */
export function meanOf(values: (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
}

/** Mean of all: JSON has no NaN, so what is not finite comes as null, and must not count as 0. */
export function mean(values: (number | null)[]): number {
  return values.length ? values.reduce<number>((sum, value) => sum + (value ?? NaN), 0) / values.length : NaN;
}

function lines(values: (number | null)[], neurons: Unit[], of: (value: number) => string): string[] {
  return values.map((value, i) => `${neurons[i] ? unitText(neurons[i]) : i}: ${value === null ? "not yet known" : of(value)}`);
}

function ratio(value: number): string {
  return Math.abs(value) < 100 ? value.toFixed(2) : formatShort(value);
}

function twoDigits(value: number): string {
  return Math.abs(value) < 100 ? String(Number(value.toPrecision(2))) : formatShort(value);
}
