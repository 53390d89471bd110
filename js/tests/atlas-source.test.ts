// Where an atlas comes from: the conversation with a kernel, and files of a web server.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import Ajv2020 from "ajv/dist/2020";
import { page } from "./page";
import type { Answer, FromKernel, Index, Layer, Table, ToKernel } from "../src/atlas/protocol";
import { Files, Kernel } from "../src/atlas/source";
import { typescript } from "../protocol.mjs";

const text = readFileSync("src/atlas/protocol.schema.json", "utf8");
const schema = JSON.parse(text);
const ajv = new Ajv2020({ allowUnionTypes: true, strictTypes: false });
const conforms = (name: string) => ajv.compile({ $defs: schema.$defs, $ref: `#/$defs/${name}` });
const [toKernel, fromKernel] = [conforms("ToKernel"), conforms("FromKernel")];

const LAYER: Layer = { name: "a/b", folder: "a_b", units: 1, rendered: 1, dead: 0, failed: 0, block: 64, sheets: [] };
const INDEX: Index = { kind: "index", format: "ldam-atlas-page-1", title: "net", atlases: [{ name: "", folder: "0", about: [], layers: [LAYER] }] };
const TABLE: Table = { kind: "table", names: [], states: ["good"], failures: {}, columns: [], words: [], similar: [[]], top_values: [], top_images: [] };

class Talk {
  said: ToKernel[] = [];
  heard: unknown[] = [];
  kernel: Kernel;
  #handle: ((content: unknown, buffers?: ArrayBuffer[]) => void) | null = null;
  constructor() {
    this.kernel = new Kernel({
      on: (_, handle) => (this.#handle = handle as never),
      off: () => (this.#handle = null),
      send: (message) => (assert(toKernel(message), JSON.stringify(toKernel.errors)), this.said.push(message)),
    });
    this.kernel.open({ index: (index) => this.heard.push(index.title), show: (...to) => this.heard.push(to), failed: (why) => this.heard.push(why) });
  }
  tell(message: FromKernel, ...buffers: ArrayBuffer[]): void {
    assert(fromKernel(message), JSON.stringify(fromKernel.errors));
    this.#handle?.(message, buffers);
  }
  answer(more: Partial<Answer>, ...buffers: ArrayBuffer[]): void {
    const { ask } = this.said.at(-1) as { ask: string };
    this.tell({ kind: "answer", ask, table: null, error: "", ...more }, ...buffers);
  }
}

test("types follow from the schema", () => {
  assert.equal(readFileSync("src/atlas/protocol.ts", "utf8"), typescript(schema));
});

test("a kernel is greeted until it answers", () => {
  const talk = new Talk();
  page.pass(4100);
  assert.deepEqual(talk.said.map(({ kind }) => kind), ["hello", "hello"]); // prettier-ignore
  assert.match(String(talk.heard[0]), /no answer from the kernel/);
  talk.tell(INDEX);
  page.pass(20_000);
  assert.equal(talk.said.length, 2);
  talk.tell({ kind: "show", layer: "a/b", unit: 0 });
  assert.deepEqual(talk.heard.slice(1), ["net", ["a/b", 0]]);
  talk.kernel.close();
  assert.equal(talk.said.at(-1)!.kind, "bye");
});

test("questions are answered, each with its own answer", async () => {
  const talk = new Talk();
  const table = talk.kernel.table(0, LAYER);
  const { ask } = talk.said.at(-1) as { ask: string };
  const sheet = talk.kernel.sheet(0, LAYER, 3, "average.webp");
  talk.answer({}, new Uint8Array([1, 2, 3]).buffer);
  talk.tell({ kind: "answer", ask, table: TABLE, error: "" });
  talk.tell({ kind: "answer", ask: "another view's", table: null, error: "" });
  assert.deepEqual(await table, TABLE);
  assert.equal((await sheet).size, 3);
  assert.equal((await sheet).type, "image/webp");
  const refused = talk.kernel.sheet(0, LAYER, 4, "average.webp");
  talk.answer({ error: "not rendered" });
  await assert.rejects(refused, /not rendered/);
  const lost = talk.kernel.table(0, LAYER);
  page.pass(21_000);
  await assert.rejects(lost, /no answer/);
  talk.kernel.close();
});

test("an index of another version is refused", () => {
  const heard: string[] = [];
  const kernel = new Kernel({ on: (_, handle) => handle({ ...INDEX, format: "ldam-atlas-page-9" }), off: () => {}, send: () => {} });
  kernel.open({ index: () => heard.push("index"), show: () => {}, failed: (why) => heard.push(why) });
  assert.match(heard[0]!, /another version/);
  kernel.close();
});

test("files are fetched, with names that addresses cannot hold encoded", async () => {
  const asked: string[] = [];
  const bodies: Record<string, unknown> = { "atlas.json": INDEX, "0/a_b/table.json": TABLE };
  globalThis.fetch = (async (path: string) => {
    asked.push(path);
    return path in bodies ? new Response(JSON.stringify(bodies[path])) : new Response("", { status: 404, statusText: "Not Found" });
  }) as never;
  const files = new Files();
  const heard: string[] = [];
  await new Promise<void>((done) => files.open({ index: ({ title }) => (heard.push(title), done()), show: () => {}, failed: (why) => (heard.push(why), done()) }));
  assert.deepEqual(heard, ["net"]);
  assert.deepEqual(await files.table(0, LAYER), TABLE);
  await assert.rejects(files.sheet(0, { ...LAYER, folder: "a #b" }, 17, "top-0.webp"), /00017\/top-0\.webp could not be read: 404/);
  assert.deepEqual(asked.slice(1), ["0/a_b/table.json", "0/a%20%23b/00017/top-0.webp"]);
  globalThis.fetch = () => Promise.reject(new TypeError("failed"));
  await assert.rejects(files.table(0, LAYER), /is the web server running/);
});
