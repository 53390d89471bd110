// What travels between kernel and front end. The Python side of the same contract is ldam_widget/widget/wire.py.
// Fields with a question mark are absent from older kernel sides: what they tell is then not shown.

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
  note?: string; // in the search list only: "wired .81"
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
  of?: string; // of a comparison, freed: the parameter that each model now has for itself
  model?: number; // and whose this is
}

export interface Trouble {
  message: string;
  hint: string;
}

export type Params = Record<string, number>;

export interface Kernel {
  name: string;
  note: string;
  calibrated?: boolean; // whether there is a density that the samples follow
  choices?: string[]; // names of the kernels that can be selected
}

/** The frozen gradient scales, one number a neuron for each term; null: none are used. */
export type Scales = Record<string, number[]> | null;

/** What stands behind the neuron: natural images, or every pixel for itself. */
export interface Prior {
  name: string;
  choices: [name: string, text: string][];
}

/** How strong the activations of the chains are among those of real images, [model][neuron]; null: not known. */
export type Standing = { text: string; short: string }[][] | null;

/** The layer feeds one with named classes: neurons can be chosen by what drives a class. */
export interface Wiring {
  label: string;
  classes: string[];
}

/** A network that tells real pictures from generated ones, and may be trained while the chains run. */
export interface Discriminator {
  only: boolean; // neurons are ignored: the chains follow the discriminator alone
  training: boolean;
  trainable: boolean;
  why: string; // in words why it cannot be trained; "" if it can
  form: string; // what the regulariser takes of D: "logit", "log" or "probability"
}

/** How training goes, on half real and half generated pictures. */
export interface Training {
  round: number;
  accuracy: number | null; // 0…1
  gap: number | null; // mean logit of real pictures minus that of generated ones
  real: number | null; // mean D, 0…1
  generated: number | null;
}

export interface TrainingTrace {
  rounds: number[];
  accuracy: (number | null)[];
  gap: (number | null)[];
}

/** One of the models that are compared. */
export interface ComparedModel {
  name: string;
  note: string; // its own layer, say; "" if there is nothing to say
}

/** Parameters that may be linked (true: one value for all models) or freed. */
export type Locks = Record<string, boolean>;

/** What a comparison shows of each model. */
export type Show = "samples" | "averages" | "both";

/** How much a neuron changed between the models. */
export interface Change extends Unit {
  difference: number | null; // mean |difference of averages|, in units of the pixels
  correlation: number | null; // of the averages
  gap: number | null; // activation of a further model minus that of the first
  activations: (number | null)[]; // one a model
}

/** A model that is followed while it trains. */
export interface Watch {
  iteration: number; // of the training
  kept: number[]; // iterations of the kept checkpoints, ascending
  shown: number | null; // the iteration whose weights are on show
  following: boolean; // the newest weights are on show
  source: string; // one of `sources`
  sources: string[]; // "weights", "average"
  cost: number | null; // share by which training is slower than without the picture; null: not known yet
  snapshot_ms: number | null;
}

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
  kernel: Kernel;
  scales?: Scales;
  warming?: boolean; // the scales are being measured
  goal?: string | null; // a percentile of real images, if that is what is to be reached
  prior?: Prior | null; // null: there is no choice
  real_images?: boolean; // frames will tell the standing among them
  wiring?: Wiring | null;
  discriminator?: Discriminator | null;
  training_trace?: TrainingTrace;
  models?: ComparedModel[]; // two to six, if models are compared
  locks?: Locks;
  show?: Show;
  scanning?: boolean; // the whole layer is being ranked
  watch?: Watch | null;
}

export interface State {
  kind: "state";
  view?: string | null; // whose `set` this answers, if any view's
  rev?: number | null;
  params: Params;
  playing: boolean;
  recording: boolean;
  kernel_note?: string;
  calibrated?: boolean;
  scales?: Scales;
  warming?: boolean;
  goal?: string | null;
  discriminator?: Discriminator | null;
  locks?: Locks;
  show?: Show;
  scanning?: boolean;
  watch?: Watch | null;
}

export interface Temperature {
  asked: number;
  measured: (number | null)[]; // one a neuron; null: not yet known
}

/** D of the present samples, 0…1, [neuron][chain]; null as a whole: nothing is known of these samples. */
export type Score = (number | null)[][] | null;

export interface Pane {
  name: string; // "sample" or "average"; "sample:0", "average:1", "difference:1" when models are compared
  encoding: "raw" | "jpeg" | "png";
  shape: [rows: number, columns: number, height: number, width: number, channels: number];
  range: [number, number]; // pixel values of level 0 and level 255; of signed colours, of level 1 and level 255
  labels: string[]; // one a row; "\n" parts the bold line from the small one
  model?: number; // whose it is
  colors?: string; // "signed": one byte a pixel, level 128 is exactly 0
}

/** A picture and what is known of it. */
export interface Still {
  steps: number;
  panes: Pane[];
  activation: (number | null)[][]; // [neuron][chain]; null is not finite, as JSON has no word for it
  burned_in: boolean[][];
  burn_in_step: number | null;
}

export interface Frame extends Still {
  kind: "frame";
  gen: number;
  seq: number;
  earlier?: Still[]; // pictures before this one that found no room, oldest first; their buffers come last
  stats: { frames_per_second: number | null; steps_per_second: number | null; round_trip_ms: number | null };
  temperature?: Temperature | null;
  execution?: string; // how the network is run, as a trial found it best
  acceptance?: (number | null)[] | null; // one a neuron, 0…1; null as a whole: the kernel has no Metropolis test
  heat?: number; // the present factor: moves by itself during a heat pulse
  score?: Score; // about four times a second
  standing?: Standing; // likewise
  training?: Training | null; // likewise, while it is trained
  activations?: (number | null)[][]; // [model][neuron], mean over chains
  agreement?: Change[]; // of the neurons on show, about twice a second
  watch?: Watch | null; // likewise
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

/** Whether the chains can be believed. */
export interface Diagnosis {
  kind: "diagnosis";
  level: "good" | "warn" | "wait";
  text: string;
  neurons: { label: string; text: string }[];
}

/** Neurons of the whole layer, as they are measured one after the other. */
export interface Changes {
  kind: "changes";
  layer: string;
  done: number;
  total: number;
  running: boolean;
  error: string;
  rows: Change[];
}

export type FromKernel = Setup | State | Frame | Units | ErrorMessage | Download | Diagnosis | Changes;

export type Action =
  | "play"
  | "pause"
  | "step"
  | "restart"
  | "reset_average"
  | "snapshot"
  | "record"
  | "stop_record"
  | "dismiss_error"
  | "measure_scales"
  | "heat"
  | "train"
  | "stop_train"
  | "discriminator_only"
  | "with_neurons"
  | "scan"
  | "stop_scan"
  | "follow";

export interface Selection {
  layer?: string;
  neurons?: string[];
  kernel?: string;
  prior?: string;
  wired_to?: number; // index of a class: its strongest inputs
}

export type ToKernel =
  | { kind: "hello"; view: string }
  | { kind: "bye"; view: string } // this view is gone: with the last one, the kernel rests at once
  | { kind: "ack"; view: string; seq: number; visible: boolean }
  | { kind: "set"; view: string; rev: number; params: Params; seq?: number } // seq: acknowledged with it
  | { kind: "do"; what: Action }
  | ({ kind: "select" } & Selection)
  | { kind: "lock"; name: string; locked: boolean }
  | { kind: "show"; what: string } // which rows, or which weights
  | { kind: "scrub"; index: number } // of a kept checkpoint
  | { kind: "units"; layer: string; query: string; offset: number; limit: number };
