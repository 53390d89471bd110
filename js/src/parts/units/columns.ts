// The columns of a table of units, and which rows it shows in which order. Pure functions; the same as in surveys/units.py.
import type { UnitColumns } from "../../protocol";
import { formatDigits, formatSigned } from "../../ui/format";

export interface Column {
  id: keyof UnitColumns;
  name: string;
  title: string;
  text(columns: UnitColumns, row: number): string;
}

export interface Sorting {
  id: keyof UnitColumns;
  ascending: boolean;
}

const digits = (value: number | null | undefined) => formatDigits(value ?? NaN);
const percent = (value: number | null | undefined) => (value == null ? "–" : `${Math.round(100 * value)}%`);

const COLUMNS: Column[] = [
  { id: "unit", name: "unit", title: "number of the unit", text: ({ unit }, i) => String(unit[i]) },
  { id: "dead", name: "dead", title: "dead: no image makes the unit positive", text: ({ dead }, i) => (dead[i] ? "dead" : "") },
  { id: "mean", name: "mean", title: "mean over the images; of a channel, of its largest value", text: ({ mean }, i) => digits(mean[i]) },
  { id: "max", name: "max", title: "largest value over the images", text: ({ max }, i) => digits(max[i]) },
  { id: "zero_share", name: "zero", title: "share of the images for which it is exactly 0", text: ({ zero_share }, i) => percent(zero_share[i]) },
  { id: "best_class", name: "class", title: "the class with the largest mean", text: ({ best_class }, i) => best_class[i] ?? "" },
  {
    id: "selectivity",
    name: "selectivity",
    title: "(a − b)/(|a| + |b|): a is the mean over the class, b the mean over the other classes (Morcos et al. 2018)",
    text: ({ selectivity }, i) => digits(selectivity[i]),
  },
  { id: "partner", name: "partner", title: "the unit that correlates most with it", text: ({ partner }, i) => String(partner[i] ?? "–") },
  { id: "correlation", name: "correlation", title: "with its partner, over the images", text: ({ correlation }, i) => digits(correlation[i]) },
  { id: "change", name: "change", title: "of the mean in the other checkpoint, in standard deviations", text: ({ change }, i) => formatSigned(change[i] ?? NaN, 2) },
  { id: "kept", name: "kept", title: "share of its top images that are also the other checkpoint's", text: ({ kept }, i) => percent(kept[i]) },
];

/** The columns that say something; without dead units, labels or another checkpoint, some do not. */
export function telling(columns: UnitColumns): Column[] {
  const known = (id: keyof UnitColumns) => columns[id].some((value: unknown) => value !== null && value !== "" && value !== false);
  return COLUMNS.filter(({ id }) => known(id));
}

/** Rows that hold every word of the query in the name, the class or "dead"; a number is a unit's. In order. */
export function rowsOf(columns: UnitColumns, layer: string, query: string, { id, ascending }: Sorting): number[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const holds = (row: number, word: string) => {
    if (/^\d+$/.test(word)) return columns.unit[row] === Number(word);
    const name = `${layer}:${columns.unit[row]}`.toLowerCase();
    return name.includes(word) || (columns.best_class[row] ?? "").toLowerCase().includes(word) || (columns.dead[row]! && "dead".includes(word));
  };
  const found = columns.unit.map((_, row) => row).filter((row) => words.every((word) => holds(row, word)));
  const values: (string | number | boolean | null)[] = columns[id];
  const sign = ascending ? 1 : -1;
  return found.sort((a, b) => {
    const [x, y] = [values[a]!, values[b]!];
    if (x === null || y === null) return Number(x === null) - Number(y === null) || a - b; // what is unknown comes last
    return sign * (Number(x > y) - Number(x < y)) || a - b;
  });
}
