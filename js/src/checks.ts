// Whether a value is what the wire declares. Another version of the kernel side may send less, more, or something else:
// a field that is not as declared is left out, and nothing throws.

export type Check = (value: unknown) => boolean;

export const isText = (value: unknown): value is string => typeof value === "string";
export const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
export const isFlag = (value: unknown): value is boolean => typeof value === "boolean";
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
export const orNull = (check: Check): Check => (value) => value === null || check(value);
export const listOf = (check: Check): Check => (value) => Array.isArray(value) && value.every(check);
export const recordOf = (check: Check): Check => (value) => isObject(value) && Object.values(value).every(check);
export const shape = (fields: Record<string, Check>): Check => (value) =>
  isObject(value) && Object.entries(fields).every(([name, check]) => check(value[name]));

/** A copy without those optional fields that fail their check. */
export function keep(content: Record<string, unknown>, optional: Record<string, Check>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(content).filter(([name, value]) => !Object.hasOwn(optional, name) || optional[name]!(value)));
}
