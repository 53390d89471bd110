import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "../src/validate";
import { frameMessage, setupMessage } from "./kernel";

const DISCRIMINATOR = { only: false, training: true, trainable: true, why: "", form: "logit" };
const TRAINING = { round: 1, accuracy: 0.5, gap: null, real: 0.5, generated: null };

test("fields as declared come through untouched", () => {
  const setup = setupMessage({
    kernel: { name: "MALA", note: "", calibrated: true, choices: ["MALA", "ULA"] },
    scales: { neuron: [1, 2], l2: [3, 4] },
    warming: false,
    wiring: { label: "fc3", classes: ["zero"] },
    discriminator: DISCRIMINATOR,
    training_trace: { rounds: [1, 2], accuracy: [0.5, null], gap: [null, -1] },
  });
  assert.deepEqual(parse(setup), setup);
  const { content } = frameMessage(1, { temperature: { asked: 1, measured: [null, 1.1] }, acceptance: [0.5, null], heat: 3, score: [[0.5, null], []], training: TRAINING });
  assert.deepEqual(parse(content), content);
  for (const nothing of [{ kind: "frame", score: null, training: null }, { kind: "state", discriminator: null }]) assert.deepEqual(parse(nothing), nothing);
  assert.deepEqual(parse({ kind: "state", kernel_note: "n", scales: null, warming: true }), { kind: "state", kernel_note: "n", scales: null, warming: true });
  const diagnosis = { kind: "diagnosis", level: "warn", text: "t", neurons: [{ label: "0", text: "r" }] };
  assert.deepEqual(parse(diagnosis), diagnosis);
});

const RUBBISH: [kind: string, field: string, values: unknown[]][] = [
  ["setup", "scales", [3, "no", [], { l2: 3 }, { l2: ["a"] }, { l2: [null] }]],
  ["setup", "warming", [1, null, "yes"]],
  ["setup", "wiring", [1, [], { label: "fc3" }, { label: 1, classes: [] }, { label: "", classes: [1] }]],
  ...["setup", "state"].map((kind): (typeof RUBBISH)[number] => [
    kind,
    "discriminator",
    [true, [], {}, { ...DISCRIMINATOR, only: 1 }, { ...DISCRIMINATOR, training: null }, { ...DISCRIMINATOR, trainable: "yes" }, { ...DISCRIMINATOR, why: null }, { ...DISCRIMINATOR, form: 2 }],
  ]),
  ["setup", "training_trace", [null, [], {}, { rounds: [1], accuracy: [1] }, { rounds: [null], accuracy: [], gap: [] }, { rounds: [], accuracy: ["a"], gap: [] }, { rounds: [], accuracy: [], gap: 3 }]],
  ["state", "kernel_note", [null, 1, {}]],
  ["state", "scales", [true, { l2: null }]],
  ["state", "warming", ["true"]],
  ["frame", "temperature", [1, [], {}, { asked: "1", measured: [] }, { asked: 1 }, { asked: 1, measured: 1 }, { asked: 1, measured: ["1"] }, { asked: NaN, measured: [] }]],
  ["frame", "acceptance", [0.5, {}, ["a"], [Infinity]]],
  ["frame", "score", [0.5, {}, [0.5], [["a"]], [[NaN]], [null]]],
  ["frame", "training", [3, [], {}, { ...TRAINING, round: null }, { ...TRAINING, accuracy: "74 %" }, { ...TRAINING, gap: undefined }, { ...TRAINING, real: Infinity }]],
  ["frame", "heat", [null, "2", NaN, [1]]],
];
for (const [kind, field, values] of RUBBISH) {
  test(`a malformed ${field} of a ${kind} is as if it were not there`, () => {
    for (const value of values) {
      const message = parse({ kind, [field]: value, kernel: { name: "", note: "" } })!;
      assert.equal(message.kind, kind);
      assert.equal(Object.hasOwn(message, field), false, JSON.stringify(value));
    }
  });
}

test("a kernel is at least an empty name and note", () => {
  const kernel = (content: unknown) => (parse({ kind: "setup", kernel: content }) as { kernel: unknown }).kernel;
  for (const content of [undefined, null, 3, "MALA", [], { name: 3, note: null, calibrated: "yes", choices: "MALA" }, { choices: [1] }]) {
    assert.deepEqual(kernel(content), { name: "", note: "" });
  }
});

test("a diagnosis needs a level and a text; malformed remarks are left out", () => {
  for (const changes of [{ level: "bad" }, { level: 3 }, { text: null }]) {
    assert.equal(parse({ kind: "diagnosis", level: "good", text: "t", neurons: [], ...changes }), null);
  }
  for (const neurons of [undefined, null, "x", [null, 3, { label: 1, text: "t" }, { label: "l" }]]) {
    assert.deepEqual(parse({ kind: "diagnosis", level: "good", text: "t", neurons }), { kind: "diagnosis", level: "good", text: "t", neurons: [] });
  }
});

test("layers and parameters keep what is as declared, each by itself", () => {
  const setup = (changes: object) => parse({ kind: "setup", ...changes }) as unknown as { layers: unknown; parameters: unknown };
  assert.deepEqual(setup({ layers: [{ name: "a", leaf: 1 }, { name: "b", leaf: true }] }).layers, [{ name: "a" }, { name: "b", leaf: true }]);
  assert.deepEqual(setup({ parameters: [{ name: "a", of: 3, model: 1 }, 7] }).parameters, [{ name: "a", model: 1 }, 7]);
  assert.equal(setup({ layers: 7 }).layers, 7);
});
