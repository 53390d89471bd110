import "./page";
import assert from "node:assert/strict";
import { test } from "node:test";
import { toBytes } from "../src/connection";
import { PaneImage } from "../src/parts/picture/pane-image";
import { Picture } from "../src/parts/picture/picture";
import { frameMessage, NAMES, setupMessage } from "./kernel";

for (const channels of [1, 3]) {
  test(`raw tiles with ${channels} channels: every pixel stands where its index says`, () => {
    const shape: [number, number, number, number, number] = [2, 3, 4, 5, channels];
    const [rows, columns, height, width] = shape;
    const bytes = Uint8Array.from({ length: rows * columns * height * width * channels }, (_, i) => (7 * i) % 256);
    const pane = { name: "sample", encoding: "raw" as const, shape, range: [-2, 3] as [number, number], labels: [], bytes };
    const image = new PaneImage(pane);
    image.load(pane);
    assert.deepEqual([image.canvas.width, image.canvas.height], [15, 8]);
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++)
        for (let y = 0; y < height; y++)
          for (let x = 0; x < width; x++) {
            const at = (((row * columns + column) * height + y) * width + x) * channels;
            const levels = [...bytes.subarray(at, at + channels)];
            assert.deepEqual(image.values(row, column, y, x), levels.map((level) => -2 + (5 * level) / 255));
          }
  });
}

test("rows: the chains, then their average", () => {
  const picture = new Picture();
  picture.setup(setupMessage());
  const { content } = frameMessage(1);
  const panes = content.panes.map((pane, i) => {
    const rows = i === 0 ? 3 : 1;
    return { ...pane, range: [-1, 1] as [number, number], shape: [rows, NAMES.length, 2, 2, 1] as typeof pane.shape, bytes: toBytes(new ArrayBuffer(rows * NAMES.length * 4)) };
  });
  picture.resize(700);
  picture.paint({ ...content, panes });
  assert.deepEqual(
    picture.content.lines().map(({ pane, row }) => `${pane} ${row}`),
    ["sample 0", "sample 1", "sample 2", "average 0"],
  );
  assert.equal(picture.layout!.tiles.length, 4 * NAMES.length);
});

test("of twelve chains side by side each is numbered, however narrow its heading; the average comes last", () => {
  const picture = new Picture();
  picture.setup(setupMessage({ neurons: [{ key: "0", label: "0", name: "" }], chains: 12 }));
  const { content } = frameMessage(1);
  const panes = content.panes.map((pane, i) => {
    const rows = i === 0 ? 12 : 1;
    const labels = i === 0 ? Array.from({ length: 12 }, (_, k) => `sample\nchain ${k + 1} of 12`) : ["average\n100 frames × 12"];
    return { ...pane, range: [-1, 1] as [number, number], labels, shape: [rows, 1, 28, 28, 1] as typeof pane.shape, bytes: toBytes(new ArrayBuffer(rows * 784)) };
  });
  picture.resize(480);
  picture.paint({ ...content, panes });
  const heads = [...picture.element.querySelectorAll(".ldam-name b")].map(({ textContent }) => textContent);
  assert.deepEqual(heads, [...Array.from({ length: 12 }, (_, i) => `chain ${i + 1}`), "average"]);
});
