// Units of a layer: searched, sorted, and described in words. Pure functions.
import type { Table } from "./protocol";
import { formatCount, formatShort } from "../ui/format";

export type Order = "number" | "activation" | "percentile" | "r_hat" | "change" | "similar";
export type State = Table["states"][number];
export type Filter = "all" | State;

const AGREE = 1.05; // R-hat above which chains do not: as `R_HAT_LIMIT` in Python

export const ORDERS: Record<Order, string> = {
  number: "number",
  activation: "strongest",
  percentile: "percentile",
  r_hat: "R-hat, largest first",
  change: "most changed",
  similar: "similar to the chosen unit",
};

export const FILTERS: Record<Filter, string> = {
  all: "all units",
  good: "to be trusted",
  wait: "more steps needed",
  warn: "doubtful",
  dead: "dead",
  failed: "failed",
  missing: "not yet rendered",
};

/** The short mark on a tile; "": nothing to note. */
export const MARKS: Record<State, string> = { good: "", wait: "", warn: "doubtful", dead: "dead", failed: "failed", missing: "not yet" };

/** The class of a unit; "": it has none, or one that is its number. */
export function nameOf(table: Table, unit: number): string {
  const name = table.names[unit] ?? "";
  return name === String(unit) ? "" : name;
}

/** A number of a unit; null: unknown. */
export function valueOf(table: Table, column: string, unit: number): number | null {
  return table.columns.find(({ name }) => name === column)?.values[unit] ?? null;
}

/** Which orders this table knows. */
export function ordersOf(table: Table): Order[] {
  const known = new Set(table.columns.filter(({ values }) => values.some((value) => value !== null)).map(({ name }) => name));
  return (Object.keys(ORDERS) as Order[]).filter((order) => order === "number" || (order === "similar" ? table.similar.some((others) => others.length) : known.has(order)));
}

export function countOf(table: Table, filter: Filter): number {
  return table.states.reduce((count, _, unit) => count + Number(passes(table, filter, unit)), 0);
}

function passes(table: Table, filter: Filter, unit: number): boolean {
  return filter === "all" || table.states[unit] === filter;
}

/** All that a search looks at, in lower case. */
function textOf(table: Table, unit: number): string {
  const words = table.words.map(({ texts, which }) => texts[which[unit] ?? -1] ?? "");
  return [String(unit), table.names[unit] ?? "", table.states[unit], table.failures[unit] ?? "", ...words].join("\n").toLowerCase();
}

/** Units that pass the filter and contain every word of the search, in order; a number finds the unit first. */
export function chosenUnits(table: Table, search: string, filter: Filter, order: Order, near: number | null): number[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const found = (unit: number) => {
    const text = words.length ? textOf(table, unit) : "";
    return words.every((word) => text.includes(word));
  };
  const all = table.states.map((_, unit) => unit).filter((unit) => passes(table, filter, unit) && found(unit));
  const exact = words.length === 1 && /^\d+$/.test(words[0]!) ? Number(words[0]) : -1;
  return sorted(table, all, order, near).sort((a, b) => Number(b === exact) - Number(a === exact));
}

function sorted(table: Table, units: number[], order: Order, near: number | null): number[] {
  if (order === "number") return units;
  if (order === "similar") {
    if (near === null) return units;
    const allowed = new Set(units);
    return [near, ...(table.similar[near] ?? [])].filter((unit) => allowed.has(unit));
  }
  const values = table.columns.find(({ name }) => name === order)?.values ?? [];
  return [...units].sort((a, b) => (values[b] ?? -Infinity) - (values[a] ?? -Infinity) || a - b); // unknown ones come last
}

/** What stands beside a tile's number: the value by which units are sorted. */
export function caption(table: Table, order: Order, unit: number): string {
  const value = order === "number" || order === "similar" ? null : valueOf(table, order, unit);
  return value === null ? "" : order === "percentile" ? percent(value) : formatShort(value);
}

const percent = (share: number) => (share > 99.95 && share < 100 ? "> 99.9 %" : `${share.toFixed(1)} %`);

/** A number in words. */
const SENTENCES: Record<string, (value: number) => string> = {
  activation: (value) => `${formatShort(value)} on average over the samples`,
  percentile: (value) => (value >= 100 ? "above all real images" : value <= 0 ? "below all real images" : `above ${percent(value)} of the real images`),
  r_hat: (value) => `${value.toFixed(2)}: the chains ${value > AGREE ? "disagree, more steps are needed" : "agree"}`,
  ess: (value) => `worth ${formatCount(value)} independent samples`,
  average_activation: (value) => `${formatShort(value)} for the average picture`,
  change: (value) => `${value.toFixed(2)} to the other atlas: 0 the same picture, 1 unrelated`,
};

const NAMES: Record<string, string> = { average_activation: "of the average", r_hat: "R-hat", ess: "sample size" };

export interface Fact {
  name: string;
  text: string;
}

/** All that is known about a unit, as name and sentence. */
export function factsOf(table: Table, unit: number): Fact[] {
  const state = table.states[unit]!;
  const facts: Fact[] = [];
  if (state === "failed") facts.push({ name: "failed", text: table.failures[unit] ?? "for an unknown reason" });
  if (state === "missing") facts.push({ name: "not yet", text: table.failures[unit] ?? "it has not been rendered" });
  for (const { name, texts, which } of table.words) {
    const text = texts[which[unit] ?? -1];
    if (text) facts.push({ name, text });
  }
  for (const { name, values } of table.columns) {
    const value = values[unit] ?? null;
    if (value !== null) facts.push({ name: NAMES[name] ?? name.replaceAll("_", " "), text: SENTENCES[name]?.(value) ?? formatShort(value) });
  }
  return facts;
}
