// The types, and the checks at run time, held against the one schema of the messages.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import Ajv2020 from "ajv/dist/2020";
import { isOptional, messagesAndShapes } from "../protocol.mjs";
import { parse } from "../src/validate";

type Schema = Record<string, any>;
type Fields = Record<string, unknown>;

const schema: Schema = JSON.parse(readFileSync("src/protocol.schema.json", "utf8"));
const KINDS = refs(schema["$defs"]["FromKernel"]);

function refs({ oneOf }: Schema): Schema[] {
  return oneOf.map(resolved);
}

function resolved(part: Schema): Schema {
  return part["$ref"] ? schema["$defs"][part["$ref"].split("/").at(-1)] : part;
}

/** As the page has it: what older kernel sides do not send is not required. */
function leniently(part: Schema): Schema {
  const required = part["required"]?.filter((name: string) => !isOptional(part, name));
  return { ...part, ...(required && { required }) };
}
const $defs = Object.fromEntries(Object.entries<Schema>(schema["$defs"]).map(([name, part]) => [name, leniently(part)]));
const conforms = new Ajv2020({ allowUnionTypes: true, strictTuples: false, keywords: ["addedLater"] }).compile({ $defs, $ref: "#/$defs/FromKernel" });

/** A message, or part of one. `pick` chooses among alternatives, and how long lists are. */
function example(part: Schema, pick: number, bare: boolean): unknown {
  if (part["$ref"]) return example(resolved(part), pick, bare);
  if ("const" in part) return part["const"];
  if (part["enum"]) return part["enum"][pick % part["enum"].length];
  if (part["anyOf"]) return example(part["anyOf"][pick % part["anyOf"].length], pick, bare);
  const types = [part["type"]].flat();
  const inner = (of: Schema, i = 0) => example(of, pick + i, bare);
  switch (types[pick % types.length]) {
    case "string":
      return ["", "words", "<b>"][pick % 3];
    case "boolean":
      return pick % 2 === 1;
    case "null":
      return null;
    case "integer":
      return 3 * pick;
    case "number":
      return pick - 0.5;
    case "array":
      return part["prefixItems"]?.map(inner) ?? Array.from({ length: pick % 3 }, (_, i) => inner(part["items"], 2 * i));
  }
  if (!part["properties"]) return { of: inner(part["additionalProperties"]) };
  const fields = Object.entries<Schema>(part["properties"]).filter(([name]) => !bare || !isOptional(part, name));
  return Object.fromEntries(fields.map(([name, value]) => [name, inner(value)]));
}

const JUNK = [null, true, 7, "junk", [], {}, [null], { junk: null }];

/** The value with junk in its place, or somewhere inside. */
function* junkIn(value: unknown): Generator<unknown> {
  yield* JUNK;
  if (Array.isArray(value)) {
    for (const [i, each] of value.entries()) for (const bad of junkIn(each)) yield value.with(i, bad);
  } else if (typeof value === "object" && value !== null) {
    for (const [name, each] of Object.entries(value)) {
      yield without(value as Fields, name);
      for (const bad of junkIn(each)) yield { ...value, [name]: bad };
    }
  }
}

/** A message with damage in an optional field, and the same one without that field. */
function* damagedField(part: Schema, value: any): Generator<[spoilt: unknown, rest: unknown]> {
  part = resolved(part);
  if (part["items"] && Array.isArray(value)) {
    for (const [i, each] of value.entries()) for (const [spoilt, rest] of damagedField(part["items"], each)) yield [value.with(i, spoilt), value.with(i, rest)];
  }
  for (const [name, inner] of Object.entries<Schema>(part["properties"] ?? {})) {
    if (!(name in value)) continue;
    if (isOptional(part, name)) for (const bad of junkIn(value[name])) yield [{ ...value, [name]: bad }, without(value, name)];
    else for (const [spoilt, rest] of damagedField(inner, value[name])) yield [{ ...value, [name]: spoilt }, { ...value, [name]: rest }];
  }
}

function without(fields: Fields, name: string): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([each]) => each !== name));
}

test("protocol.ts and shapes.ts are what the schema says; `npm run protocol` writes them", () => {
  const written = ["src/protocol.ts", "src/shapes.ts"].map((file) => readFileSync(file, "utf8"));
  assert.deepEqual(written, messagesAndShapes(schema));
});

for (const part of KINDS) {
  const kind: string = part["properties"].kind.const;

  test(`${kind}: what is as declared comes through untouched, with and without its optional fields`, () => {
    for (let pick = 0; pick < 6; pick++) {
      for (const bare of [false, true]) {
        const message = example(part, pick, bare);
        assert.ok(conforms(message), JSON.stringify([message, conforms.errors]));
        assert.deepEqual(parse(message), message);
        // a newer kernel side says more
        if (!["changes", "diagnosis"].includes(kind)) assert.deepEqual(parse({ ...(message as Fields), more: 1 }), { ...(message as Fields), more: 1 });
      }
    }
  });

  const damaged = [0, 1, 2, 3, 4, 5].flatMap((pick) => [...damagedField(part, example(part, pick, false))]).filter(([spoilt]) => !conforms(spoilt));
  if (!damaged.length) continue; // it has no optional fields
  test(`${kind}: an optional field that is not as declared is as if it were not there`, () => {
    for (const [spoilt, rest] of damaged) assert.deepEqual(parse(spoilt), rest, JSON.stringify(spoilt));
  });
}
