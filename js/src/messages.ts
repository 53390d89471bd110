// What travels between kernel and front end. The Python side of the same contract is ldam_widget/widget/wire.py.

export interface Layer {
  name: string;
  type: string;
  shape: number[];
  units: number;
}

export interface Unit {
  key: string; // what the kernel calls it; opaque here
  label: string; // "3" or "5@3,4"
  name: string; // class name or ""
}

export interface Parameter {
  name: string;
  label: string; // the accessible name of its slider
  group: string;
  low: number;
  high: number;
  default: number;
  log: boolean;
  zero: boolean; // exactly 0 is allowed as well, below `low`
  integer: boolean;
  unit: string;
  help: string;
}

export interface Trouble {
  message: string;
  hint: string;
}

export type Params = Record<string, number>;

export interface Setup {
  kind: "setup";
  gen: number;
  title: string;
  device: string;
  layer: string;
  layers: Layer[];
  neurons: Unit[];
  parameters: Parameter[];
  params: Params;
  chains: number;
  playing: boolean;
  recording: boolean;
  notes: string[];
  error: Trouble | null;
  trace: { steps: number[]; activation: (number | null)[][] };
  kernel: { name: string; note: string };
}

export interface State {
  kind: "state";
  view?: string | null; // whose `set` this answers, if any view's
  rev?: number | null;
  params: Params;
  playing: boolean;
  recording: boolean;
}

export interface Pane {
  name: string; // "sample" or "average"; one a model when several are compared
  encoding: "raw" | "jpeg" | "png";
  shape: [rows: number, columns: number, height: number, width: number, channels: number];
  range: [number, number]; // pixel values of level 0 and level 255
  labels: string[]; // one a row; "\n" parts the bold line from the small one
}

export interface Frame {
  kind: "frame";
  gen: number;
  seq: number;
  steps: number;
  panes: Pane[];
  activation: (number | null)[][]; // [neuron][chain]; null is not finite, as JSON has no word for it
  burned_in: boolean[][];
  burn_in_step: number | null;
  stats: { frames_per_second: number | null; steps_per_second: number | null; round_trip_ms: number | null };
}

export interface Units {
  kind: "units";
  layer: string;
  query: string;
  offset: number;
  total: number;
  units: Unit[];
}

export interface ErrorMessage {
  kind: "error";
  error: Trouble | null;
}

export interface Download {
  kind: "download";
  filename: string;
  mime: string;
}

export type FromKernel = Setup | State | Frame | Units | ErrorMessage | Download;

export type Deed =
  | "play"
  | "pause"
  | "step"
  | "restart"
  | "reset_average"
  | "snapshot"
  | "record"
  | "stop_record"
  | "dismiss_error";

export type ToKernel =
  | { kind: "hello"; view: string }
  | { kind: "bye"; view: string } // this view is gone: with the last one, the kernel rests at once
  | { kind: "ack"; view: string; seq: number; visible: boolean }
  | { kind: "set"; view: string; rev: number; params: Params }
  | { kind: "do"; what: Deed }
  | { kind: "select"; layer?: string; neurons?: string[] }
  | { kind: "units"; layer: string; query: string; offset: number; limit: number };

/** JupyterLab hands DataViews into a larger buffer, shinywidgets whole ArrayBuffers. */
export function toBytes(buffer: DataView | ArrayBuffer | Uint8Array): Uint8Array<ArrayBuffer> {
  if (ArrayBuffer.isView(buffer)) {
    return new Uint8Array(buffer.buffer as ArrayBuffer, buffer.byteOffset, buffer.byteLength);
  }
  return new Uint8Array(buffer);
}

const KINDS = new Set(["setup", "state", "frame", "units", "error", "download"]);

/** A newer kernel side may say more than this front end knows: what is unknown is no message. */
export function parse(content: unknown): FromKernel | null {
  const kind = (content as { kind?: unknown } | null)?.kind;
  return typeof kind === "string" && KINDS.has(kind) ? (content as FromKernel) : null;
}

/** How a unit is written everywhere: "3 three". */
export function unitText(unit: Unit): string {
  return unit.name ? `${unit.label} ${unit.name}` : unit.label;
}
