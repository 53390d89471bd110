// The page of a unit: what comes late about an earlier unit is not shown, and a chain starts in the image that was clicked.
import "./page";
import assert from "node:assert/strict";
import { test } from "node:test";
import type { UnitNews } from "../src/protocol";
import widget from "../src/widget";
import { FakeModel, setupMessage } from "./kernel";

const subject = (unit: number) => ({ subject: { key: `${unit}`, layer: "conv", unit, units: 8, name: "", back: false, networks: [""] } });
const pane = (name: string, count: number) => ({ name, encoding: "raw", shape: [1, count, 2, 2, 1], range: [0, 1], labels: [name] });
const settled = () => new Promise((done) => setImmediate(done));

function opened() {
  const model = new FakeModel();
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  const close = widget.render({ model: model as never, el });
  model.post(setupMessage({ unit_page: "on demand", unit_shown: 1 }));
  const tell = (id: number, news: object, pictures = 0) =>
    model.post({ kind: "unit", id, card: 0, ...news } as UnitNews, pictures ? [new DataView(new ArrayBuffer(4 * pictures))] : []);
  return { model, el, close, tell };
}

test("a picture of an earlier unit that is ready late is not shown", async () => {
  const { el, close, tell } = opened();
  tell(1, subject(3));
  tell(1, { optimised: 2.5, panes: [pane("optimised", 1)] }, 1);
  await settled();
  assert.equal(el.querySelectorAll(".ldam-page-still").length, 1);
  tell(1, { optimised: 2.5, panes: [pane("optimised", 1)] }, 1);
  tell(2, subject(4)); // before it is ready
  await settled();
  assert.equal(el.querySelectorAll(".ldam-page-still").length, 0);
  close();
});

test("a chain starts in the image that was clicked, of the list that was shown", async () => {
  const { model, el, close, tell } = opened();
  const top = [5, 4, 3].map((value) => ({ value, name: `<b>${value}`, place: [] }));
  const histogram = { low: 0, high: 5, counts: [1, 2], below: 0, above: 0 };
  tell(7, subject(3));
  tell(7, { seen: { images: 1024, of: 4000, final: false, map: [], dead: false, silent: 0, mean: 1, histogram, top, boxes: [] }, panes: [pane("whole", 3)] }, 3);
  await settled();
  el.querySelectorAll<HTMLElement>(".ldam-page-image")[1]!.click();
  [...el.querySelectorAll("button")].find((each) => each.textContent === "start a chain from this image")!.click();
  const [asked] = model.take("start_from");
  assert.deepEqual([asked!.id, asked!.images, asked!.rank], [7, 1024, 1]);
  assert.equal(el.querySelector(".ldam-page b b"), null);
  close();
});

test("a page of other weights than the present ones says so, and can be made anew", () => {
  const { model, el, close, tell } = opened();
  tell(1, subject(3));
  const line = el.querySelector<HTMLElement>(".ldam-page-stale")!;
  assert(line.hidden);
  tell(1, { stale: "other weights <b>by now</b>" });
  assert(!line.hidden);
  assert(line.textContent!.startsWith("other weights <b>by now</b>"));
  line.querySelector("button")!.click();
  assert.deepEqual(model.take("do").map(({ what }) => what), ["look_again"]);
  tell(1, { stale: "" });
  assert(line.hidden);
  tell(1, { stale: "other weights" });
  tell(2, subject(3));
  assert(line.hidden);
  close();
});
