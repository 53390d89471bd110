// Means of partly unknown values.

/** Mean of the known values. */
export function meanOf(values: (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
}

/** Mean of all values: JSON has no NaN, so non-finite values arrive as null and must not count as 0. */
export function mean(values: (number | null)[]): number {
  return values.length ? values.reduce<number>((sum, value) => sum + (value ?? NaN), 0) / values.length : NaN;
}
