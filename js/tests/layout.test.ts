import assert from "node:assert/strict";
import { test } from "node:test";
import { arrange, HEAD, type Layout, type Room } from "../src/parts/picture/layout";

const ROWS = [{ pane: "sample", row: 0 }, { pane: "average", row: 0 }];
const room = (changes: Partial<Room> = {}): Room => ({ width: 780, ratio: 1, gutter: 94, budget: 440, ...changes });
const size = (pixels: number) => ({ width: pixels, height: pixels });

function sound(layout: Layout, columns: number, rows: number, ratio: number, gutter: number): void {
  assert.equal(layout.tiles.length, columns * rows);
  assert.equal(layout.heads.length, columns);
  for (const [i, a] of layout.tiles.entries()) {
    assert.ok([a.x, a.y, a.width, a.height].every(Number.isInteger), "off the pixel grid");
    assert.ok(a.x >= gutter * ratio && a.x + a.width < layout.width * ratio && a.y + a.height < layout.height * ratio, "outside");
    for (const b of layout.tiles.slice(i + 1)) {
      const apart = a.x + a.width < b.x || b.x + b.width < a.x || a.y + a.height < b.y || b.y + b.height < a.y;
      assert.ok(apart, "tiles touch");
    }
  }
}

for (const width of [320, 480, 780, 1400]) {
  for (const ratio of [1, 1.5, 2]) {
    for (const pixels of [8, 28, 64, 224, 512]) {
      test(`${pixels} px images, ${width} px wide, ratio ${ratio}`, () => {
        for (const columns of [1, 3, 10, 40]) {
          const layout = arrange(ROWS, columns, size(pixels), room({ width, ratio }));
          sound(layout, columns, 2, ratio, 94);
          if (!layout.smooth) assert.equal(layout.tiles[0]!.width % pixels, 0, "not a whole multiple");
        }
      });
    }
  }
}

test("on dense screens photographs are as large as elsewhere", () => {
  for (const width of [700, 780, 900, 1400]) {
    const [usual, dense] = [1, 2].map((ratio) => arrange(ROWS, 10, size(224), room({ width, ratio, budget: 640 })));
    assert.ok(dense!.tiles[0]!.width / 2 >= usual!.tiles[0]!.width - 4, `${width}: ${dense!.tiles[0]!.width / 2} < ${usual!.tiles[0]!.width}`);
  }
});

test("ten digits stand in one row where they fit, in two where they do not, or are much larger by that", () => {
  const [low, high] = [300, 440].map((budget) => arrange(ROWS, 10, size(28), room({ budget })));
  assert.deepEqual([low!.perBlock, low!.tiles[0]!.width], [10, 56]);
  assert.deepEqual([high!.perBlock, high!.tiles[0]!.width], [5, 84]);
  assert.equal(arrange(ROWS, 10, size(28), room({ width: 480 })).perBlock, 5);
});

test("few small images are enlarged, large ones scaled down smoothly", () => {
  assert.equal(arrange(ROWS, 1, size(28), room()).tiles[0]!.width, 28 * 7);
  const photo = arrange(ROWS, 4, size(224), room({ budget: 640 }));
  assert.ok(photo.smooth && photo.tiles[0]!.width > 140);
});

test("a higher head moves the tiles down by as much, and nothing sideways", () => {
  for (const columns of [1, 10, 40]) {
    const [plain, high] = [{}, { head: HEAD + 14 }].map((changes) => arrange(ROWS, columns, size(28), room({ budget: 20_000, ...changes })));
    sound(high!, columns, 2, 1, 94);
    assert.deepEqual(high!.heads.map(({ height }) => height), Array(columns).fill(HEAD + 14));
    for (const [i, tile] of high!.tiles.entries()) {
      const block = Math.floor(tile.column / high!.perBlock);
      assert.deepEqual(tile, { ...plain!.tiles[i], y: plain!.tiles[i]!.y + 14 * (block + 1) });
    }
  }
});

test("a vector is no hairline: it is drawn at least a third as high as wide, or as wide as high", () => {
  for (const columns of [1, 6, 20]) {
    const flat = arrange(ROWS, columns, { width: 50, height: 1 }, room()).tiles[0]!;
    assert.ok(flat.height >= flat.width / 3 - 1, `${flat.width} × ${flat.height}`);
    const upright = arrange(ROWS, columns, { width: 1, height: 50 }, room()).tiles[0]!;
    assert.ok(upright.width >= upright.height / 3 - 1, `${upright.width} × ${upright.height}`);
  }
  const wide = arrange(ROWS, 1, { width: 200, height: 20 }, room()).tiles[0]!;
  assert.equal(wide.width, 10 * wide.height, "a wide picture keeps its shape");
});

test("pictures a little too wide for one row go in two, unblurred; those that never fit are made smaller", () => {
  const strip = { width: 128, height: 32 };
  const six = arrange(ROWS, 6, strip, room());
  assert.deepEqual([six.smooth, six.tiles[0]!.width % 128], [false, 0]);
  assert.ok(arrange(ROWS, 2, strip, room({ width: 200 })).smooth);
});

test("ten photographs stand in few rows of about equal length, none of them tiny", () => {
  const photo = (width: number, budget = 640) => arrange(ROWS, 10, size(224), room({ width, gutter: 78, budget }));
  for (const [width, perBlock, least] of [[410, 4, 76], [1000, 5, 120], [1400, 10, 120]] as const) {
    const layout = photo(width);
    assert.equal(layout.perBlock, perBlock);
    assert.ok(layout.tiles[0]!.width >= least, `${layout.tiles[0]!.width}`);
    assert.ok(layout.height <= 660, `${layout.height}`);
  }
  const large = arrange(ROWS, 10, size(224), room({ width: 1400, gutter: 78, budget: 850, large: true, largest: 850 }));
  assert.ok(large.tiles[0]!.width > 1.4 * photo(1400).tiles[0]!.width);
});
