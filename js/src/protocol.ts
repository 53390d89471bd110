// What travels between kernel and page, written by `npm run protocol` from protocol.schema.json: change that.
// Fields with a question mark are absent from older kernel sides, or said by some widgets alone: what they tell is then not shown.

export type FromKernel = Setup | State | Frame | Units | ErrorMessage | Download | Diagnosis | Changes;

export type ToKernel = Hello | Bye | Ack | SetParams | Do | Select | Lock | ShowOther | Scrub | AskUnits;

/** Everything the panel is built from. */
export interface Setup {
  kind: "setup";
  gen: number; // generation: increases with every change of neurons; frames of another generation are not shown
  title: string; // for figures and file names
  device: string; // "cpu", "cuda:0"
  layer: string; // the current layer; one of `layers`
  layers: Layer[]; // all available layers
  neurons: Unit[]; // one column each
  parameters: Parameter[]; // one slider each
  params: Params; // current values
  chains: number; // per neuron
  playing: boolean; // sampling, or about to
  recording: boolean; // a recording is in progress
  notes: string[]; // messages for the user
  error: Fault; // content of the error banner
  trace: Trace; // the run so far, thinned
  kernel: Kernel; // the transition kernel
  kernel_note?: string; // as `kernel.note`
  calibrated?: boolean; // as `kernel.calibrated`
  scales?: Scales; // null: no frozen scales
  warming?: boolean; // the scales are being measured
  goal?: string | null; // the goal, if it is a percentile of real images
  prior?: Prior | null; // null: no choice available
  real_images?: boolean; // real images are available, so frames will include `standing`
  wiring?: Wiring | null; // null: classes have no names
  discriminator?: Discriminator | null; // null: none
  training_trace?: TrainingTrace; // of the discriminator so far, thinned
  models?: ComparedModel[]; // two to six models, in a comparison
  locks?: Locks; // in a comparison
  show?: Show; // in a comparison
  scanning?: boolean; // the whole layer is being ranked
  watch?: Watch | null; // when watching a model train
}

/** Changes made by a slider, a button or Python. */
export interface State {
  kind: "state";
  view?: string; // the view that sent the last `set`; "": none
  rev?: number; // the revision of that `set`
  params: Params; // values of all sliders
  playing: boolean; // sampling, or about to
  recording: boolean; // a recording is in progress
  kernel_note?: string; // description of what the kernel samples
  calibrated?: boolean; // the samples follow a density
  scales?: Scales; // null: no frozen scales
  warming?: boolean; // the scales are being measured
  goal?: string | null; // the goal, if it is a percentile of real images
  discriminator?: Discriminator | null; // null: none
  locks?: Locks; // in a comparison
  show?: Show; // in a comparison
  scanning?: boolean; // the whole layer is being ranked
  watch?: Watch | null; // when watching a model train
}

/** The newest picture and measurements; the buffers are the pixels of its panes. */
export interface Frame {
  kind: "frame";
  gen: number; // generation of the setup it belongs to
  seq: number; // frame number, to be acknowledged
  steps: number; // steps of the chains so far
  panes: Pane[]; // one buffer each
  activation: Table; // [neuron][chain]; null: not finite, which JSON cannot express
  burned_in: boolean[][]; // [neuron][chain]
  burn_in_step: number | null; // the step at which the last chain had burned in; null: not yet
  earlier?: Still[]; // earlier pictures that could not be sent, oldest first; their buffers come last
  stats: Stats; // speed
  temperature?: Temperature | null; // about four times a second
  execution?: string; // how the network is run, as chosen by a trial; about four times a second
  acceptance?: (number | null)[] | null; // per neuron, 0…1; null as a whole: the kernel has no Metropolis test
  heat?: number; // current factor; changes by itself during a heat pulse
  score?: Score; // about four times a second
  standing?: Standing; // about four times a second
  training?: Training | null; // about four times a second, during training
  activations?: Table; // in a comparison: [model][neuron], mean over chains
  agreement?: Change[]; // of the neurons shown, about twice a second
  watch?: Watch | null; // about four times a second
}

/** A page of unit search results. */
export interface Units {
  kind: "units";
  layer: string; // as requested
  query: string; // as requested
  offset: number; // as requested: number of units before these
  total: number; // number of units found
  units: Unit[]; // the units of this page
}

/** Replaces the content of the error banner. */
export interface ErrorMessage {
  kind: "error";
  error: Fault; // null: clears the banner
}

/** A file to download; the buffer holds its bytes. */
export interface Download {
  kind: "download";
  filename: string; // with extension
  mime: string; // "image/png", "image/gif"
}

/** The verdict on the chains. */
export interface Diagnosis {
  kind: "diagnosis";
  level: "good" | "warn" | "wait"; // "wait": too early to tell
  text: string; // the verdict on all chains
  neurons: Remark[]; // remarks per neuron
}

/** Ranking of the neurons of the whole layer, sent as they are measured. */
export interface Changes {
  kind: "changes";
  layer: string; // layer of the first model
  done: number; // neurons measured so far
  total: number; // neurons of the layer
  running: boolean; // still in progress
  error: string; // "": none
  rows: Change[]; // most changed first
}

/** A view has appeared. */
export interface Hello {
  kind: "hello";
  view: View;
}

/** This view is gone. When the last one goes, the kernel pauses at once. */
export interface Bye {
  kind: "bye";
  view: View;
}

/** A frame has been painted, or a heartbeat. */
export interface Ack {
  kind: "ack";
  view: View;
  seq: number; // number of the newest painted frame
  visible: boolean; // whether the view is visible
}

/** Sliders have moved. */
export interface SetParams {
  kind: "set";
  view: View;
  rev: number; // revision, increases with each message; a state names the one it answers
  params: Params; // changed values
  seq?: number; // frame acknowledged with it
}

/** A button was pressed. */
export interface Do {
  kind: "do";
  what: Action;
}

/** A change of layer, neurons, kernel or prior. */
export interface Select {
  kind: "select";
  layer?: string; // selects its first neurons if none are given
  neurons?: string[]; // unit keys
  kernel?: string; // one of `kernel.choices`
  prior?: string; // a name in `prior.choices`
  wired_to?: number; // index of a class, to select its strongest inputs
}

/** Whether a parameter has one value for all models, or one per model. */
export interface Lock {
  kind: "lock";
  name: string; // name of the parameter
  locked: boolean; // one value for all
}

/** Selects the rows of a comparison, or the weights shown of a model that trains. */
export interface ShowOther {
  kind: "show";
  what: string; // a `Show`, or one of `watch.sources`
}

/** A kept checkpoint was chosen. */
export interface Scrub {
  kind: "scrub";
  index: number; // index in `watch.kept`
}

/** The picker asks for a page of units. */
export interface AskUnits {
  kind: "units";
  layer: string; // the current layer
  query: string; // prefix of a number, or part of a name
  offset: number; // units to skip
  limit: number; // maximum number of units, at most 500
}

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

/** The name a view has given itself. */
export type View = string;

export interface Layer {
  name: string; // dotted, as in `model.named_modules()`
  type: string; // class name
  shape: number[]; // shape of the output for one image
  units: number; // number of neurons, or of channels if the output has positions
  leaf?: boolean; // has no submodules
}

export interface Unit {
  key: string; // the kernel's identifier; opaque to the page
  label: string; // "3" or "5@3,4"
  name: string; // class name, or ""
}

export interface Parameter {
  name: string; // as in Python
  label: string; // accessible name of its slider
  group: string; // heading of its group
  low: number; // smallest value
  high: number; // largest value
  default: number; // value after a reset
  log: boolean; // logarithmic slider
  zero: boolean; // exactly 0 is also allowed, below `low`
  integer: boolean; // whole numbers only
  unit: string; // "": none
  help: string; // one-sentence description
  of?: string; // when unlocked in a comparison: the parameter that this is one model's copy of
  model?: number; // index of that model
}

/** Parameter name → value. */
export type Params = Record<string, number>;

export interface Trouble {
  message: string; // what went wrong
  hint: string; // what to do about it
}

export type Fault = Trouble | null;

export interface Kernel {
  name: string; // one of `choices`, or the name of a custom kernel
  note: string; // description of what it samples
  calibrated?: boolean; // the samples follow a density
  choices?: string[]; // names of the available kernels
}

/** The frozen gradient scales: one number per neuron for each term; null: not used. */
export type Scales = Record<string, number[]> | null;

/** The image prior: natural images, or independent pixels. */
export interface Prior {
  name: string; // the one in use
  choices: Choice[]; // all available priors
}

export type Choice = [name: string, text: string];

/** How the chains' activations rank among those of real images, [model][neuron]; null: unknown. */
export type Standing = Place[][] | null;

export interface Place {
  text: string; // as a sentence
  short: string; // in two or three words
}

/** The layer feeds one with named classes, so neurons can be chosen by how strongly they drive a class. */
export interface Wiring {
  label: string; // description of what is chosen
  classes: string[]; // class names
}

/** A network that distinguishes real pictures from generated ones, and may be trained while the chains run. */
export interface Discriminator {
  only: boolean; // neurons are ignored; the chains follow the discriminator alone
  training: boolean; // training is in progress
  trainable: boolean; // there are real images to train on
  why: string; // why it cannot be trained; "" if it can
  form: string; // the function of D used as regulariser: "logit", "log" or "probability"
}

/** Training progress, measured on half real and half generated pictures. */
export interface Training {
  round: number; // number of the last round
  accuracy: number | null; // 0…1
  gap: number | null; // mean logit of real pictures minus that of generated ones
  real: number | null; // mean D, 0…1
  generated: number | null; // mean D, 0…1
}

export interface TrainingTrace {
  rounds: number[]; // round numbers
  accuracy: (number | null)[]; // one per round
  gap: (number | null)[]; // one per round
}

/** One of the compared models. */
export interface ComparedModel {
  name: string; // name given by the user
  note: string; // e.g. its layer, if different; "": none
}

/** Lockable parameters; true: one value for all models, false: one per model. */
export type Locks = Record<string, boolean>;

/** What a comparison shows of each model. */
export type Show = "samples" | "averages" | "both";

/** How much a neuron changed between the models. */
export interface Change {
  key: string; // as in `Unit`
  label: string; // as in `Unit`
  name: string; // as in `Unit`
  difference: number | null; // mean |difference of averages|, in pixel units
  correlation: number | null; // of the averages
  gap: number | null; // activation of another model minus that of the first
  activations: (number | null)[]; // one per model
}

/** A model that is followed while it trains. */
export interface Watch {
  iteration: number; // training iteration
  kept: number[]; // iterations of the kept checkpoints, ascending
  shown: number | null; // iteration of the weights shown
  following: boolean; // the newest weights are shown
  source: string; // one of `sources`
  sources: string[]; // "weights", "average"
  cost: number | null; // relative slowdown of training while pictures are sampled; null: not known yet
  snapshot_ms: number | null; // time to save a checkpoint
}

export interface Trace {
  steps: number[]; // steps of the records
  activation: Table; // [record][neuron], mean over chains
}

export interface Stats {
  frames_per_second: number | null; // frames sent
  steps_per_second: number | null; // steps of each chain
  bytes_per_frame?: number | null; // size of a frame's buffers
  round_trip_ms: number | null; // from sending a frame to its acknowledgement; null: none yet
}

export interface Temperature {
  asked: number; // requested temperature: slider times heat
  measured: (number | null)[]; // per neuron; null: not yet known
}

/** D of the current samples, 0…1, [neuron][chain]; null as a whole: unknown. */
export type Score = Table | null;

/** Rows of numbers; null: not finite. */
export type Table = (number | null)[][];

export interface Pane {
  name: string; // "sample" or "average"; "sample:0", "average:1", "difference:1" when models are compared
  encoding: "raw" | "jpeg" | "png"; // encoding of the buffer
  shape: [rows: number, columns: number, height: number, width: number, channels: number]; // layout of the tiles
  range: [low: number | null, high: number | null]; // pixel values of levels 0 and 255; with signed colours, of levels 1 and 255; null: infinite
  labels: string[]; // one per row; "\n" separates the bold line from the small one
  model?: number; // index of its model
  colors?: string; // "signed": one byte per pixel, level 128 is exactly 0
}

/** An earlier picture and its measurements. */
export interface Still {
  kind?: "frame";
  steps: number; // steps of the chains
  panes: Pane[]; // one buffer each
  activation: Table; // [neuron][chain]
  burned_in: boolean[][]; // [neuron][chain]
  burn_in_step: number | null; // null: not yet
  activations?: Table; // in a comparison: [model][neuron]
}

export interface Remark {
  label: string; // label of the neuron
  text: string; // the verdict on the neuron
}
