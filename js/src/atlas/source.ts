// Where an atlas comes from: files beside the page, or a kernel.
import { hidesSaved } from "../connection";
import type { Answer, FromKernel, Index, Layer, Table, ToKernel } from "./protocol";

export interface Listener {
  index(index: Index): void;
  /** Something outside of the page chooses a layer, or a unit in it. */
  show(layer: string, unit: number | null): void;
  failed(why: string): void;
}

export interface Source {
  /** A unit's page has an address, `#layer/unit`. */
  readonly linked: boolean;
  open(listener: Listener): void;
  close(): void;
  table(atlas: number, layer: Layer): Promise<Table>;
  sheet(atlas: number, layer: Layer, block: number, file: string): Promise<Blob>;
  chosen(layer: string, unit: number | null): void;
}

export const FORMAT = "ldam-atlas-page-1";
const OTHER_FORMAT = "this atlas was written by another version of ldam-widget: export it again";

/** The folder of a block: 17 → "00017". */
export function blockFolder(block: number): string {
  return String(block).padStart(5, "0");
}

/** A folder that any web server serves, written by `Atlas.export`. */
export class Files implements Source {
  readonly linked = true;
  #root: string;
  #index: Index | null = null;
  #end = new AbortController();

  constructor(root = "") {
    this.#root = root;
  }

  open(listener: Listener): void {
    const opened = async () => {
      const index = (await (await this.#get("atlas.json")).json()) as Index;
      if (index.format !== FORMAT) throw new Error(OTHER_FORMAT);
      this.#index = index;
      listener.index(index);
    };
    opened().catch((error: unknown) => this.#end.signal.aborted || listener.failed(String(error instanceof Error ? error.message : error)));
  }

  close(): void {
    this.#end.abort();
  }

  async table(atlas: number, layer: Layer): Promise<Table> {
    return (await (await this.#get(`${this.#folder(atlas)}/${layer.folder}/table.json`)).json()) as Table;
  }

  async sheet(atlas: number, layer: Layer, block: number, file: string): Promise<Blob> {
    return (await this.#get(`${this.#folder(atlas)}/${layer.folder}/${blockFolder(block)}/${file}`)).blob();
  }

  chosen(): void {} // the page's address says it

  #folder(atlas: number): string {
    return this.#index!.atlases[atlas]!.folder;
  }

  async #get(path: string): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(this.#root + path.split("/").map(encodeURIComponent).join("/"), { signal: this.#end.signal });
    } catch {
      throw new Error(`${path} could not be read: is the web server running?`);
    }
    if (!response.ok) throw new Error(`${path} could not be read: ${response.status} ${response.statusText}`);
    return response;
  }
}

/** The part of an anywidget model used here. */
export interface Model {
  on(event: string, callback: (content: unknown, buffers?: (DataView | ArrayBuffer)[]) => void): void;
  off(event: string, callback: (content: unknown, buffers?: (DataView | ArrayBuffer)[]) => void): void;
  send(content: ToKernel): void;
}

const ASK_AGAIN = 4000; // ms without an answer after which hello is sent again
const PATIENCE = 20_000; // ms after which a question counts as lost
const NO_ANSWER = "no answer from the kernel: it is busy, or not running — then run the cell again";

type Waiting = { done: (answer: Answer, buffers: (DataView | ArrayBuffer)[]) => void; timer: ReturnType<typeof setTimeout> };

/** A kernel, asked by messages. */
export class Kernel implements Source {
  readonly linked = false;
  #model: Model;
  #view = Math.random().toString(36).slice(2, 10);
  #listener: Listener | null = null;
  #asked = 0;
  #waiting = new Map<string, Waiting>();
  #hello: ReturnType<typeof setInterval> | undefined;

  constructor(model: Model) {
    this.#model = model;
  }

  open(listener: Listener): void {
    this.#listener = listener;
    this.#model.on("msg:custom", this.#receive);
    this.#model.send({ kind: "hello", view: this.#view, hides: hidesSaved() });
    this.#hello = setInterval(() => {
      this.#model.send({ kind: "hello", view: this.#view, hides: hidesSaved() });
      listener.failed(NO_ANSWER);
    }, ASK_AGAIN);
  }

  close(): void {
    clearInterval(this.#hello);
    this.#model.off("msg:custom", this.#receive);
    for (const { timer } of this.#waiting.values()) clearTimeout(timer);
    this.#waiting.clear();
    this.#model.send({ kind: "bye", view: this.#view });
  }

  table(atlas: number, layer: Layer): Promise<Table> {
    return this.#ask((ask) => ({ kind: "table", ask, atlas, layer: layer.name }), ({ table }) => table!); // prettier-ignore
  }

  sheet(atlas: number, layer: Layer, block: number, file: string): Promise<Blob> {
    const question = (ask: string): ToKernel => ({ kind: "sheet", ask, atlas, layer: layer.name, block, file });
    return this.#ask(question, (_, [bytes]) => new Blob([bytes as ArrayBuffer], { type: "image/webp" }));
  }

  chosen(layer: string, unit: number | null): void {
    this.#model.send({ kind: "chosen", layer, unit });
  }

  #ask<T>(question: (ask: string) => ToKernel, read: (answer: Answer, buffers: (DataView | ArrayBuffer)[]) => T): Promise<T> {
    const ask = `${this.#view}-${++this.#asked}`;
    return new Promise((resolve, reject) => {
      const done: Waiting["done"] = (answer, buffers) => {
        if (answer.error) reject(new Error(answer.error));
        else resolve(read(answer, buffers));
      };
      const lost = () => {
        this.#waiting.delete(ask);
        reject(new Error(NO_ANSWER));
      };
      this.#waiting.set(ask, { done, timer: setTimeout(lost, PATIENCE) });
      this.#model.send(question(ask));
    });
  }

  #receive = (content: unknown, buffers: (DataView | ArrayBuffer)[] = []): void => {
    const message = content as FromKernel | null;
    if (typeof message !== "object" || message === null) return;
    if (message.kind === "index") {
      clearInterval(this.#hello);
      if (message.format === FORMAT) this.#listener?.index(message);
      else this.#listener?.failed(OTHER_FORMAT);
    } else if (message.kind === "show") {
      this.#listener?.show(message.layer, message.unit);
    } else if (message.kind === "answer") {
      const waiting = this.#waiting.get(message.ask);
      if (!waiting) return; // another view's
      clearTimeout(waiting.timer);
      this.#waiting.delete(message.ask);
      waiting.done(message, buffers);
    }
  };
}
