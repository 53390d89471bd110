/** The number of a single unit, with or without a place ("12", "12@3,4", "12@mean"); null for an expression, which has no page. */
export function unitNumber(key: string): number | null {
  const found = /^(\d+)(@[\w,]+)?$/.exec(key);
  return found ? Number(found[1]) : null;
}
