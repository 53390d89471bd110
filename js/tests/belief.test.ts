// The line that says how far the pictures can be believed, and its button.
import { page } from "./page";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import widget from "../src/widget";
import { parse } from "../src/validate";
import type { BeliefState } from "../src/protocol";
import { FakeModel, setupMessage } from "./kernel";

const NOT_YET: BeliefState = { running: false, level: "wait", text: "belief: not checked", neurons: [] };
const DOUBTS: BeliefState = {
  running: false,
  level: "warn",
  text: "belief: doubtful: 1 of 2 neurons: 3 three",
  neurons: [{ label: "3 three", text: "100% of the activation comes from units that real images never use" }, { label: "4 <b>", text: "nothing suspicious" }],
};
let model: FakeModel;
let root: HTMLElement;
let close: () => void = () => {};

beforeEach(() => {
  close();
  [page.observers, page.intersection] = [[], []];
  model = new FakeModel();
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  close = widget.render({ model: model as never, el });
  root = el.querySelector(".ldam")!;
});

const line = () => root.querySelector<HTMLElement>(".ldam-belief")!;
const button = () => line().querySelector<HTMLButtonElement>(".ldam-check")!;
const state = (belief?: BeliefState) => model.post({ kind: "state", params: {}, playing: true, recording: false, ...(belief && { belief }) });

test("there is no such line where the kernel says nothing of belief", () => {
  model.rich();
  assert.equal(line().hidden, true);
  model.rich({ belief: NOT_YET });
  assert.equal(line().hidden, false);
});

test("the button starts and stops it", () => {
  model.rich({ belief: NOT_YET });
  model.sent = [];
  assert.equal(button().textContent, "check belief");
  button().click();
  state({ ...NOT_YET, running: true, text: "belief: checking: 0 of 2 neurons" });
  assert.equal(button().textContent, "stop checking");
  button().click();
  assert.deepEqual(model.take("do").map(({ what }) => what), ["belief", "stop_belief"]);
});

test("doubts are a status with a sign, and those about each neuron can be unfolded", () => {
  model.rich({ belief: NOT_YET });
  state(DOUBTS);
  state();
  const status = line().querySelector("[role=status]")!;
  assert.equal(status.textContent, `⚠\ufe0e${DOUBTS.text}`);
  const more = line().querySelector<HTMLButtonElement>("[aria-expanded]")!;
  const list = root.querySelector<HTMLElement>(`#${more.getAttribute("aria-controls")}`)!;
  assert.equal(list.hidden, true);
  more.click();
  assert.deepEqual([list.hidden, list.getAttribute("aria-label")], [false, "belief of each neuron"]);
  assert.equal(list.lastElementChild!.firstElementChild!.textContent, "4 <b>", "as text, never as HTML");
});

test("a malformed belief is dropped, and the message kept", () => {
  for (const belief of [null, 3, { ...NOT_YET, level: "bad" }, { ...NOT_YET, neurons: [{ label: 1 }] }, { text: "t" }]) {
    const message = { ...setupMessage(), belief };
    assert.deepEqual(parse(message), parse(setupMessage()));
  }
  assert.deepEqual((parse({ ...setupMessage(), belief: DOUBTS }) as unknown as { belief: unknown }).belief, DOUBTS);
});
