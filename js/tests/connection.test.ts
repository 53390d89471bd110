import { page } from "./page";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Connection, type FilledFrame, type Silence, toBytes } from "../src/connection";
import { parse } from "../src/validate";
import { FakeModel, frameMessage, setupMessage } from "./kernel";

let model: FakeModel;
let connection: Connection;
let painted: FilledFrame[];
let silence: Silence;
let decode: (() => Promise<void>) | null;

beforeEach(() => {
  if (connection) model.send = () => {};
  connection?.close();
  [model, painted, silence, decode] = [new FakeModel(), [], null, null];
  const nothing = () => {};
  connection = new Connection(model, {
    setup: nothing,
    state: nothing,
    frame: nothing,
    paint: (frame) => {
      painted.push(frame);
      return decode?.();
    },
    units: nothing,
    diagnosis: nothing,
    error: nothing,
    download: nothing,
    silence: (now) => (silence = now),
  });
  connection.start();
});

/** Frames at a pace, each painted and acknowledged. */
function stream(from: number, count: number, pace: number): void {
  for (let seq = from; seq < from + count; seq++) {
    model.frame(seq);
    page.animate();
    page.pass(pace);
  }
}

test("bytes of a view into a larger buffer, and of a whole buffer", () => {
  const { buffer } = Uint8Array.of(9, 1, 2, 3, 9);
  assert.deepEqual([...toBytes(new DataView(buffer, 1, 3))], [1, 2, 3]);
  assert.deepEqual([...toBytes(buffer)], [9, 1, 2, 3, 9]);
});

test("unknown kinds and rubbish are no messages", () => {
  for (const content of [null, undefined, 3, "frame", {}, { kind: 7 }, { kind: "toString" }]) assert.equal(parse(content), null);
  model.post({ kind: "of the future" });
  assert.equal(parse({ kind: "frame" })?.kind, "frame");
});

test("a view says hello first", () => assert.deepEqual(model.sent, [{ kind: "hello", view: connection.view, hides: false }]));

test("frames are painted one an animation frame, the eight newest of them", () => {
  model.post(setupMessage());
  for (let seq = 1; seq <= 14; seq++) model.frame(seq, { average: false });
  assert.deepEqual([painted.length, model.take("ack").length], [0, 0]);
  for (let seq = 7; seq <= 14; seq++) {
    page.animate();
    assert.equal(painted.at(-1)!.seq, seq);
  }
  page.animate();
  assert.equal(painted.length, 8);
});

test("a frame brings earlier pictures along, which are painted before it; it is acked when all are", () => {
  model.post(setupMessage());
  for (const seq of [1, 2]) {
    const still = (level: number) => ({ ...frameMessage(seq, { steps: level, average: false }), level });
    const [first, second] = [still(10 * seq + 1), still(10 * seq + 2)];
    const newest = frameMessage(seq, { steps: 10 * seq + 3, level: 10 * seq + 3 });
    const data = [first, second].map(({ level }) => new Uint8Array(16).fill(level).buffer);
    model.post({ ...newest.content, earlier: [first.content, second.content] }, [...newest.buffers, ...data]);
    for (let i = 1; i <= 3; i++) {
      assert.deepEqual(model.take("ack"), []);
      page.pass(70);
      page.animate();
    }
    assert.deepEqual(model.take("ack").map((ack) => ack.seq), [seq]);
  }
  assert.deepEqual(painted.map(({ steps }) => steps), [11, 12, 13, 21, 22, 23]);
  assert.deepEqual(painted.map(({ panes }) => panes[0]!.bytes[0]), [11, 12, 13, 21, 22, 23]);
  assert.deepEqual(painted.map(({ panes }) => panes.length), [1, 1, 2, 1, 1, 2]);
});

test("after a change by the user only the newest picture is painted", () => {
  model.post(setupMessage());
  for (const seq of [1, 2, 3]) model.frame(seq);
  connection.set("step_size", 1);
  page.animate();
  model.frame(4);
  page.animate();
  assert.deepEqual(painted.map(({ seq }) => seq).slice(-1), [4]);
  page.pass(1100);
  for (const seq of [5, 6]) model.frame(seq);
  page.animate();
  assert.equal(painted.at(-1)!.seq, 5);
});

test("a frame is acked when it was painted", () => {
  model.post(setupMessage());
  for (const seq of [1, 2, 3]) {
    model.frame(seq);
    page.pass(200);
    assert.deepEqual(model.take("ack"), [], "acked before it was painted");
    page.animate();
    assert.deepEqual(model.take("ack"), [{ kind: "ack", view: connection.view, seq, visible: true }]);
  }
});

test("small pictures are acked a few times a second, however fast they come, and at once when the user does something", () => {
  model.post(setupMessage());
  stream(1, 60, 20);
  const acked = model.take("ack").map(({ seq }) => seq);
  assert.ok(acked.length <= 10, `${acked.length} acks in 1.2 s`);
  assert.ok(acked.at(-1)! >= 50, "the last ones are long out");
  stream(61, 1, 10);
  connection.do("heat");
  assert.deepEqual([model.take("ack").at(-1)?.seq, model.take("do").length], [61, 1]);
  page.pass(1000);
  assert.deepEqual(model.take("ack"), [], "acked twice");
});

test("over a slow link each frame is acked", () => {
  model.post(setupMessage());
  for (let seq = 1; seq <= 20; seq++) {
    model.frame(seq, { stats: { frames_per_second: 20, steps_per_second: 40, round_trip_ms: 260 } });
    page.animate();
    page.pass(20);
  }
  assert.equal(model.take("ack").length, 20);
});

test("of large pictures every second one is acked, and in a second after a change each", () => {
  model.post(setupMessage());
  connection.do("heat");
  stream(1, 20, 20);
  assert.equal(model.take("ack").length, 20);
  page.pass(2000);
  model.take("ack");
  const large = (seq: number) => {
    const { content } = frameMessage(seq, { average: false });
    model.post(content, [new ArrayBuffer(200_000)]);
    page.animate();
    page.pass(20);
  };
  for (let seq = 22; seq <= 30; seq++) large(seq);
  assert.deepEqual(model.take("ack").map(({ seq }) => seq), [22, 24, 26, 28, 30]);
  large(31);
  page.pass(200);
  assert.deepEqual(model.take("ack").map(({ seq }) => seq), [31], "the last one, too, before the kernel thinks that nobody watches");
});

test("pictures of one message are spread over the time in which they were sampled", () => {
  model.post(setupMessage());
  const bunch = (seq: number) => {
    const newest = frameMessage(seq, { average: false });
    const earlier = [1, 2].map(() => frameMessage(seq, { average: false }));
    model.post({ ...newest.content, earlier: earlier.map(({ content }) => content) }, [newest, ...earlier].flatMap(({ buffers }) => buffers));
  };
  const at: number[] = [];
  for (let seq = 1; seq <= 30; seq++) {
    bunch(seq);
    for (let time = 0; time < 144; time += 16) {
      const before = painted.length;
      page.animate();
      if (seq > 15 && painted.length > before) at.push(144 * seq + time);
      page.pass(16);
    }
  }
  const gaps = at.slice(1).map((time, i) => time - at[i]!);
  assert.ok(at.length >= 3 * 15 - 2, "pictures are lost");
  assert.ok(Math.min(...gaps) >= 32 && Math.max(...gaps) <= 64, `${Math.min(...gaps)} … ${Math.max(...gaps)} ms apart`);
});

test("an average in a frame that is never painted is kept for the next", () => {
  model.post(setupMessage());
  model.frame(1, { level: 7, average: true });
  for (let seq = 2; seq <= 9; seq++) model.frame(seq, { level: 6 + seq, average: false });
  page.animate();
  const panes = painted[0]!.panes.map(({ name, bytes }) => [name, bytes[0]]);
  assert.deepEqual(panes, [["sample", 8], ["average", 7]]);
});

test("frames of another generation are acked at once and dropped", () => {
  model.frame(1);
  model.post(setupMessage({ gen: 2 }));
  model.frame(2, { gen: 1 });
  assert.deepEqual(model.take("ack").map(({ seq }) => seq), [1, 2]);
  page.animate();
  assert.equal(painted.length, 0);
});

test("a frame that waits when the generation changes is not painted", () => {
  model.post(setupMessage());
  model.frame(1);
  model.post(setupMessage({ gen: 2 }));
  page.animate();
  assert.equal(painted.length, 0);
});

test("unseen frames are acked at once, and the newest is painted when seen again", () => {
  model.post(setupMessage());
  connection.visible = false;
  model.frame(1);
  model.frame(2);
  page.animate();
  assert.equal(painted.length, 0);
  assert.deepEqual(model.take("ack"), [1, 2].map((seq) => ({ kind: "ack", view: connection.view, seq, visible: false })));
  connection.visible = true;
  assert.deepEqual(model.take("ack"), [{ kind: "ack", view: connection.view, seq: 2, visible: true }]);
  page.animate();
  assert.deepEqual(painted.map(({ seq }) => seq), [2]);
});

test("pictures to be decoded are acked when painted, and the newest comes next", async () => {
  let decoded = () => {};
  decode = () => new Promise((done) => (decoded = done));
  model.post(setupMessage());
  model.frame(1);
  page.animate();
  for (const seq of [2, 3, 4]) {
    const { content, buffers } = frameMessage(seq);
    for (const pane of content.panes) pane.encoding = "jpeg" as "raw";
    model.post(content, buffers);
  }
  page.animate();
  assert.deepEqual([painted.length, model.take("ack").length], [1, 0]);
  decoded();
  await new Promise(setImmediate);
  page.pass(100);
  assert.deepEqual(model.take("ack").map(({ seq }) => seq), [1]);
  page.animate();
  assert.deepEqual(painted.map(({ seq }) => seq), [1, 3]);
});

test("a picture that cannot be decoded does not stop the stream", async (t) => {
  t.mock.method(console, "warn", () => {});
  decode = () => Promise.reject(new Error("broken"));
  model.post(setupMessage());
  model.frame(1);
  page.animate();
  await new Promise(setImmediate);
  page.pass(100);
  assert.deepEqual(model.take("ack").map(({ seq }) => seq), [1]);
});

test("heartbeat: once a second while playing, seen, and without frames", () => {
  model.post(setupMessage({ playing: true }));
  model.frame(1);
  page.animate();
  page.pass(100);
  assert.equal(model.take("ack").length, 1);
  page.pass(3000);
  assert.deepEqual(model.take("ack"), Array(3).fill({ kind: "ack", view: connection.view, seq: 1, visible: true }));
  connection.visible = false;
  model.take("ack");
  page.pass(3000);
  connection.visible = true;
  model.take("ack");
  model.post({ kind: "state", params: {}, playing: false, recording: false });
  page.pass(3000);
  assert.equal(model.take("ack").length, 0);
});

test("frames that stay out are late within seconds, and the kernel has stopped a while after", () => {
  model.post(setupMessage({ playing: true }));
  stream(1, 30, 50);
  page.pass(2000);
  assert.equal(silence, null);
  page.pass(1500);
  assert.equal(silence, "late");
  page.pass(6000);
  assert.equal(silence, "stopped");
  stream(31, 1, 50);
  assert.equal(silence, null);
});

test("frames of a slow network are not late between two of them, nor if nothing plays or is visible", () => {
  model.post(setupMessage({ playing: true }));
  stream(1, 6, 2000);
  page.pass(2500);
  assert.equal(silence, null);
  stream(7, 20, 50);
  connection.visible = false;
  page.pass(10_000);
  connection.visible = true;
  page.pass(1000);
  assert.equal(silence, null);
  model.post({ kind: "state", params: {}, playing: false, recording: false });
  page.pass(10_000);
  assert.equal(silence, null);
});

test("if the notebook reports the kernel as lost, it is, unless the kernel answers", () => {
  model.post(setupMessage({ playing: false }));
  model.disconnect();
  page.pass(2000);
  assert.equal(silence, "stopped");
  model.post(setupMessage({ playing: false }));
  assert.equal(silence, null);
  model.disconnect();
  assert.equal(model.take("hello").length > 0, true);
  model.post(setupMessage({ playing: false }));
  page.pass(20_000);
  assert.equal(silence, null);
});

test("a kernel that never answers, and one that stopped", () => {
  page.pass(7500);
  assert.equal(silence, null);
  page.pass(1000);
  assert.equal(silence, "never");
  assert.ok(model.take("hello").length >= 2, "it is asked again");
  model.post(setupMessage({ playing: false }));
  assert.equal(silence, null);
  page.pass(60_000); // paused, nothing is due
  assert.equal(silence, null);
  connection.do("step");
  page.pass(8500);
  assert.equal(silence, "stopped");
});

test("slider moves are sent once an animation frame, the newest value of each", () => {
  for (const value of [1, 2, 3]) connection.set("temperature", value);
  connection.set("l2", 0.5);
  assert.equal(model.take("set").length, 0);
  page.animate();
  connection.set("l2", 0.6);
  page.animate();
  assert.deepEqual(model.take("set"), [
    { kind: "set", view: connection.view, rev: 1, params: { temperature: 3, l2: 0.5 } },
    { kind: "set", view: connection.view, rev: 2, params: { l2: 0.6 } },
  ]);
});

test("the first move is sent at once, together with others of the same event", async () => {
  connection.set("temperature", 1);
  connection.set("l2", 2);
  await Promise.resolve();
  assert.deepEqual(model.take("set"), [{ kind: "set", view: connection.view, rev: 1, params: { temperature: 1, l2: 2 } }]);
  connection.set("l2", 3);
  await Promise.resolve();
  assert.equal(model.take("set").length, 0, "before the next animation frame");
  page.animate();
  assert.equal(model.take("set").length, 1);
  page.animate();
  page.animate();
  assert.equal(model.take("set").length, 0, "each is sent once");
});

test("a change acknowledges what has come, and drops all of it but the newest picture", () => {
  model.post(setupMessage());
  for (const seq of [1, 2, 3]) model.frame(seq);
  connection.set("l2", 1);
  page.animate(); // an older picture may be painted with the frame that sends it
  assert.equal((model.take("set")[0] as { seq?: number }).seq, 3);
  page.animate();
  page.animate();
  assert.equal(painted.at(-1)!.seq, 3);
  assert.ok(painted.length <= 2, "the others are dropped");
  assert.ok(model.take("ack").every(({ seq }) => seq < 3), "it was acknowledged already");
});

test("own echo: older values of what this view changed are stale, others are not", () => {
  connection.set("l2", 1);
  page.animate();
  connection.set("l2", 2);
  page.animate();
  const from = (view: string, rev: number) => connection.isStale("l2", { view, rev });
  assert.equal(from(connection.view, 1), true);
  assert.equal(from("", 0), true, "the kernel had not seen rev 2 yet");
  assert.equal(connection.isStale("temperature", { view: connection.view, rev: 1 }), false);
  assert.equal(from(connection.view, 2), false);
  assert.equal(from("", 0), false, "answered: Python's values count again");
  connection.set("l2", 3);
  page.animate();
  page.pass(6000);
  assert.equal(from("", 0), false, "an echo that never comes does not deafen for good");
});

test("a comm that is gone does not break the page", (t) => {
  t.mock.method(console, "warn", () => {});
  model.send = () => {
    throw new Error("no comm");
  };
  connection.do("play");
});

test("a change is sent before the view says bye, and nothing after it", async () => {
  connection.set("l2", 1);
  connection.close();
  await Promise.resolve();
  page.animate();
  assert.deepEqual(model.sent.map(({ kind }) => kind), ["hello", "set", "bye"]);
});

test("a view says bye; after that nothing is received or sent", () => {
  model.post(setupMessage());
  model.frame(1);
  connection.close();
  assert.deepEqual(model.take("bye"), [{ kind: "bye", view: connection.view }]);
  model.sent = [];
  page.animate();
  page.pass(5000);
  const { content, buffers } = frameMessage(2);
  model.post(content, buffers);
  assert.deepEqual([model.sent, painted], [[], []]);
});
