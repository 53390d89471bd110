// Texts for the measurements in frames: temperature and acceptance rate. Pure functions.
import type { Frame, Unit } from "../../protocol";
import type { Reading } from "../../ui/control";
import { formatShort, unitText } from "../../ui/format";
import { meanOf } from "../../ui/mean";

const FAR = 0.05; // relative to the requested temperature; a larger deviation is a warning

/** "measured 1.01 T", mean over neurons; in absolute numbers if the requested temperature is 0. */
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

function lines(values: (number | null)[], neurons: Unit[], of: (value: number) => string): string[] {
  return values.map((value, i) => `${neurons[i] ? unitText(neurons[i]) : i}: ${value === null ? "not yet known" : of(value)}`);
}

function ratio(value: number): string {
  return Math.abs(value) < 100 ? value.toFixed(2).replace("-", "−") : formatShort(value);
}

function twoDigits(value: number): string {
  return Math.abs(value) < 100 ? String(Number(value.toPrecision(2))).replace("-", "−") : formatShort(value);
}
