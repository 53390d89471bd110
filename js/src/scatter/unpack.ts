// The buffers of messages as typed arrays, and back.
import type { Box } from "./protocol";

const STEPS = 65_535;

/** Positions x, y, x, y, … from uint16 pairs within a box. */
export function positions(bytes: Uint8Array<ArrayBuffer>, { left, right, bottom, top }: Box): Float32Array {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const points = new Float32Array(Math.floor(bytes.byteLength / 4) * 2);
  const [across, up] = [(right - left) / STEPS, (top - bottom) / STEPS];
  for (let i = 0; i < points.length; i += 2) {
    points[i] = left + data.getUint16(2 * i, true) * across;
    points[i + 1] = bottom + data.getUint16(2 * i + 2, true) * up;
  }
  return points;
}

/** One byte a point from one bit a point, the lowest of a byte first. */
export function fromBits(bits: Uint8Array, count: number): Uint8Array {
  const selection = new Uint8Array(count);
  for (let i = 0; i < count; i++) selection[i] = (bits[i >> 3]! >> (i & 7)) & 1;
  return selection;
}

export function toBits(selection: Uint8Array): Uint8Array<ArrayBuffer> {
  const bits = new Uint8Array((selection.length + 7) >> 3);
  for (let i = 0; i < selection.length; i++) if (selection[i]) bits[i >> 3]! |= 1 << (i & 7);
  return bits;
}

/** Up to `most` selected indices, evenly spread over all of them. */
export function spread(selection: Uint8Array, selected: number, most: number): number[] {
  const found: number[] = [];
  const step = Math.max(selected / most, 1);
  for (let i = 0, nth = 0; i < selection.length && found.length < most; i++) {
    if (!selection[i]) continue;
    if (nth >= Math.floor(found.length * step)) found.push(i);
    nth++;
  }
  return found;
}
