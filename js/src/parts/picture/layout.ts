// Layout of the tiles. Pure geometry: takes sizes in CSS pixels, returns rectangles in device pixels.

/** The part of a pane that a tile shows. */
export interface Cell {
  pane: string;
  row: number;
  column: number;
}

export interface Tile extends Cell {
  x: number; // device pixels, as are y, width, height
  y: number;
  width: number;
  height: number;
  line: number; // its row, counted over all panes
}

export interface Box {
  x: number; // CSS pixels
  y: number;
  width: number;
  height: number;
}

export interface Layout {
  tiles: Tile[];
  heads: Box[]; // one per column: name and activation above the tiles
  sides: (Box & { line: number })[]; // one per row of each block: the label at the left
  width: number; // CSS pixels
  height: number;
  perBlock: number; // columns side by side
  smooth: boolean; // scaled by no integer: average pixels instead of dropping or doubling some
}

export interface Room {
  width: number; // CSS pixels
  ratio: number; // device pixels per CSS pixel
  gutter: number; // reserved at the left for row labels
  budget: number; // height not to exceed as long as tiles stay legible
  largest?: number; // CSS pixels, maximum tile width
  head?: number; // height above the tiles
  large?: boolean; // use the largest tiles, in as many blocks as needed, however small the gain
}

export const GAP = 6; // between tiles, if space allows
const LEAST_GAP = 3;
const BLOCK_GAP = 10;
export const HEAD = 36; // name, activation and bar
const SPREAD = 36; // columns may be this much wider than their tiles, to make room for names
const LEGIBLE = 52; // a narrower tile has no room for "3 three" above it
const PHOTO = 88; // pictures wider than this may have to be scaled down
const LEGIBLE_PHOTO = 76; // and then need more
const SHRUNK = 160; // device pixels; pictures up to this width are not scaled down if they fit at full size
const WORTH_WRAPPING = 1.4; // columns wrap into more blocks only if tiles become this many times larger
const VECTOR = 4; // an image with a side this short is a vector: the side is drawn at least a third as long as the other

/** The largest tiles that fit in few blocks of columns; more blocks only if the tiles become much larger. */
export function arrange(lines: Omit<Cell, "column">[], columns: number, size: { width: number; height: number }, room: Room): Layout {
  const { width, ratio, gutter, budget, head = HEAD } = room;
  const available = Math.max(width - gutter - 2, 40); // 2: the border of the last tile
  const vector = Math.min(size.height, size.width) <= VECTOR;
  const aspect = vector ? Math.min(Math.max(size.height / size.width, 1 / 3), 3) : size.height / size.width;
  const legible = Math.min(size.width / ratio > PHOTO ? LEGIBLE_PHOTO : LEGIBLE, available);
  const fit = candidates(size.width, ratio, Math.min(available, room.largest ?? 512)).map((tile) => {
    const perBlock = Math.max(1, Math.floor((available + LEAST_GAP) / (tile + LEAST_GAP)));
    const blocks = Math.ceil(columns / perBlock);
    const block = head + lines.length * (tile * aspect + GAP) - GAP;
    return { tile, blocks, tall: blocks * (block + BLOCK_GAP) - BLOCK_GAP };
  });
  const readable = fit.filter(({ tile }) => tile >= legible);
  const smallest = readable.at(-1) ?? fit[0]!; // candidates run from large to small
  const same = fit.filter(({ blocks, tile }) => blocks === smallest.blocks && tile >= smallest.tile);
  const fits = ({ tall }: { tall: number }) => tall <= budget;
  const largest = readable.find(fits) ?? smallest;
  const usual = same.find(fits) ?? smallest;
  const { tile, blocks } = room.large || largest.tile >= WORTH_WRAPPING * usual.tile ? largest : usual;

  const device = (css: number) => Math.round(css * ratio);
  const perBlock = Math.ceil(columns / blocks);
  const tileWidth = device(tile);
  const tileHeight = Math.max(1, Math.round(tileWidth * aspect));
  const tall = tileHeight / ratio;
  const gap = Math.min(GAP, perBlock > 1 ? (available - perBlock * tile) / (perBlock - 1) : GAP);
  const pitch = Math.min((available + gap) / perBlock, tile + SPREAD);
  const headWidth = Math.max(pitch - 4, tile);
  const block = head + lines.length * (tall + GAP) - GAP;
  const layout: Layout = { tiles: [], heads: [], sides: [], width, height: 0, perBlock, smooth: tileWidth % size.width !== 0 };
  for (let b = 0; b < blocks; b++) {
    const top = b * (block + BLOCK_GAP);
    for (const [line, cell] of lines.entries()) {
      const y = top + head + line * (tall + GAP);
      layout.sides.push({ line, x: 0, y, width: gutter - 8, height: tall });
      for (let i = 0; i < perBlock && b * perBlock + i < columns; i++) {
        const x = gutter + i * pitch + (pitch - gap - tile) / 2;
        layout.tiles.push({ ...cell, column: b * perBlock + i, line, x: device(x), y: device(y), width: tileWidth, height: tileHeight });
      }
    }
    for (let i = 0; i < perBlock && b * perBlock + i < columns; i++) {
      layout.heads.push({ x: gutter + i * pitch + (pitch - gap - headWidth) / 2, y: top, width: headWidth, height: head });
    }
    layout.height = top + block + 2; // the border of the last tiles
  }
  return layout;
}

/**
 * Tile widths in CSS pixels from large to small: integer multiples of the native size; for large pictures smaller sizes,
 * and on dense screens, where no pixel is seen by itself, those between one and two pixels a pixel.
 */
function candidates(pixels: number, ratio: number, largest: number): number[] {
  const native = pixels / ratio;
  const sizes: number[] = [];
  for (let k = Math.floor(largest / native); k >= 1; k--) {
    if (k === 1 && ratio > 1 && pixels > SHRUNK) {
      for (let size = Math.floor(Math.min(2 * native - 1, largest) / 4) * 4; size > native; size -= 4) sizes.push(size);
    }
    sizes.push(k * native);
  }
  if (native > SHRUNK || (native > PHOTO && !sizes.length)) {
    for (let size = Math.floor(Math.min(native - 1, largest) / 4) * 4; size >= 48; size -= 4) sizes.push(size);
  }
  return sizes.length ? sizes : [largest];
}
