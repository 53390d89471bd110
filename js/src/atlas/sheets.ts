// Sheets of tiles: which file holds a picture and where, and which files are loaded.
import type { Layer, Sheet } from "./protocol";
import type { Source } from "./source";

const AT_ONCE = 6; // files being read
const KEPT = 240; // files held in memory

/** One tile of a file. */
export interface Place {
  block: number;
  file: string;
  columns: number; // tiles in a row of the file
  column: number;
  row: number;
}

/** Where picture `i` of a unit is. */
export function placeOf(layer: Layer, sheet: Sheet, unit: number, i: number): Place {
  const most = Math.ceil(sheet.tiles / sheet.files.length);
  const file = Math.floor(i / most);
  const each = Math.min(most, sheet.tiles - file * most); // the last file has the rest
  const within = unit % layer.block;
  return {
    block: Math.floor(unit / layer.block),
    file: sheet.files[file]!,
    columns: sheet.across * each,
    column: (within % sheet.across) * each + (i % most),
    row: Math.floor(within / sheet.across),
  };
}

interface Entry {
  url: string | null; // null: on its way
  error: string;
}

type Request = { key: string; load: () => Promise<Blob> };

/** Loads sheets as they come into sight, the newest request first, and forgets those long out of it. */
export class Sheets {
  /** Called when a sheet has come, or has failed to. */
  changed: () => void = () => {};
  #source: Source;
  #known = new Map<string, Entry>(); // least recently used first
  #queue: Request[] = [];
  #loading = 0;
  #closed = false;

  constructor(source: Source) {
    this.#source = source;
  }

  /** The address of a sheet; null: it is on its way, or has failed. */
  url(atlas: number, layer: Layer, { block, file }: Place): string | null {
    const key = keyOf(atlas, layer, block, file);
    const entry = this.#known.get(key);
    if (entry) {
      this.#known.delete(key);
      this.#known.set(key, entry);
      return entry.url;
    }
    const waits = this.#queue.findIndex((request) => request.key === key);
    const request = waits < 0 ? { key, load: () => this.#source.sheet(atlas, layer, block, file) } : this.#queue.splice(waits, 1)[0]!;
    this.#queue.push(request);
    queueMicrotask(() => this.#next());
    return null;
  }

  /** Before everything in sight is asked for again: what has scrolled past is not worth loading. */
  forgetRequests(): void {
    this.#queue = [];
  }

  /** Why a sheet could not be read; "": it could, or is on its way. */
  error(atlas: number, layer: Layer, { block, file }: Place): string {
    return this.#known.get(keyOf(atlas, layer, block, file))?.error ?? "";
  }

  /** Everything is to be read again. */
  clear(): void {
    for (const { url } of this.#known.values()) if (url) URL.revokeObjectURL(url);
    this.#known.clear();
    this.#queue = [];
  }

  close(): void {
    this.#closed = true;
    this.clear();
  }

  #next(): void {
    while (this.#loading < AT_ONCE && this.#queue.length && !this.#closed) void this.#load(this.#queue.shift()!);
  }

  async #load({ key, load }: Request): Promise<void> {
    const entry: Entry = { url: null, error: "" };
    this.#known.set(key, entry);
    this.#loading += 1;
    try {
      const blob = await load();
      if (this.#known.get(key) === entry) entry.url = URL.createObjectURL(blob);
    } catch (error) {
      entry.error = error instanceof Error ? error.message : String(error);
    }
    this.#loading -= 1;
    if (this.#closed) return;
    this.#shrink();
    this.changed();
    this.#next();
  }

  #shrink(): void {
    for (const [key, { url }] of this.#known) {
      if (this.#known.size <= KEPT) return;
      if (url) URL.revokeObjectURL(url);
      this.#known.delete(key);
    }
  }
}

function keyOf(atlas: number, layer: Layer, block: number, file: string): string {
  return `${atlas}/${layer.folder}/${block}/${file}`;
}
