// What travels between kernel and page, written by `npm run protocol` from protocol.schema.json: change that.
// Fields with a question mark are absent from older kernel sides, or said by some widgets alone: what they tell is then not shown.

export type FromKernel = Setup | State | Frame | Units | ErrorMessage | Download | Diagnosis | Changes;

export type ToKernel = Hello | Bye | Ack | SetParams | Do | Select | Lock | ShowOther | Scrub | AskUnits;

/** Everything that the panel is built from. */
export interface Setup {
  kind: "setup";
  gen: number; // rises with every other choice of neurons; frames of another are not shown
  title: string; // of figures, and of saved files
  device: string; // "cpu", "cuda:0"
  layer: string; // whose units are on show; one of `layers`
  layers: Layer[]; // all that can be chosen
  neurons: Unit[]; // a column each
  parameters: Parameter[]; // a slider each
  params: Params; // where they stand
  chains: number; // of each neuron
  playing: boolean; // sampling, or about to
  recording: boolean; // a film is being recorded
  notes: string[]; // remarks in words
  error: Fault; // what the banner says
  trace: Trace; // the run so far, thinned
  kernel: Kernel; // how the chains move
  kernel_note?: string; // as `kernel.note`
  calibrated?: boolean; // as `kernel.calibrated`
  scales?: Scales; // null: none are used
  warming?: boolean; // the scales are being measured
  goal?: string | null; // a percentile of real images, if that is what is to be reached
  prior?: Prior | null; // null: there is no choice
  real_images?: boolean; // frames will tell the standing among them
  wiring?: Wiring | null; // null: classes have no names
  discriminator?: Discriminator | null; // null: there is none
  training_trace?: TrainingTrace; // of the discriminator so far, thinned
  models?: ComparedModel[]; // two to six, if models are compared
  locks?: Locks; // of a comparison
  show?: Show; // of a comparison
  scanning?: boolean; // the whole layer is being ranked
  watch?: Watch | null; // of a model that trains
}

/** What has changed, by a slider, a button or Python. */
export interface State {
  kind: "state";
  view?: string; // whose `set` was the last; "": none was
  rev?: number; // and which of its
  params: Params; // where all sliders stand
  playing: boolean; // sampling, or about to
  recording: boolean; // a film is being recorded
  kernel_note?: string; // what the kernel samples, in words
  calibrated?: boolean; // there is a density that the samples follow
  scales?: Scales; // null: none are used
  warming?: boolean; // the scales are being measured
  goal?: string | null; // a percentile of real images, if that is what is to be reached
  discriminator?: Discriminator | null; // null: there is none
  locks?: Locks; // of a comparison
  show?: Show; // of a comparison
  scanning?: boolean; // the whole layer is being ranked
  watch?: Watch | null; // of a model that trains
}

/** The newest picture and what is measured; the pixels of its panes are the buffers. */
export interface Frame {
  kind: "frame";
  gen: number; // of the setup that it belongs to
  seq: number; // its number, to be acknowledged
  steps: number; // of the chains so far
  panes: Pane[]; // a buffer each
  activation: Table; // [neuron][chain]; null is not finite, as JSON has no word for it
  burned_in: boolean[][]; // [neuron][chain]
  burn_in_step: number | null; // the step at which all chains had burned in; null: not yet
  earlier?: Still[]; // pictures before this one that found no room, oldest first; their buffers come last
  stats: Stats; // how fast it goes
  temperature?: Temperature | null; // about four times a second
  execution?: string; // how the network is run, as a trial found it best; likewise
  acceptance?: (number | null)[] | null; // one a neuron, 0…1; null as a whole: the kernel has no Metropolis test
  heat?: number; // the present factor: moves by itself during a heat pulse
  score?: Score; // about four times a second
  standing?: Standing; // likewise
  training?: Training | null; // likewise, while it is trained
  activations?: Table; // of a comparison: [model][neuron], mean over chains
  agreement?: Change[]; // of the neurons on show, about twice a second
  watch?: Watch | null; // likewise
}

/** A page of the units that a reader looks for. */
export interface Units {
  kind: "units";
  layer: string; // as it was asked for
  query: string; // likewise
  offset: number; // likewise: number of units before these
  total: number; // number of units that were found
  units: Unit[]; // those of this page
}

/** What the banner says from now on. */
export interface ErrorMessage {
  kind: "error";
  error: Fault; // null: nothing any more
}

/** A file to be saved; its bytes are the buffer. */
export interface Download {
  kind: "download";
  filename: string; // with its ending
  mime: string; // "image/png", "image/gif"
}

/** Whether the chains can be believed. */
export interface Diagnosis {
  kind: "diagnosis";
  level: "good" | "warn" | "wait"; // "wait": too early to tell
  text: string; // the verdict on all of them
  neurons: Remark[]; // and on each
}

/** Neurons of the whole layer, as they are measured one after the other. */
export interface Changes {
  kind: "changes";
  layer: string; // of the first model
  done: number; // neurons measured so far
  total: number; // neurons of the layer
  running: boolean; // more are coming
  error: string; // "" if there is none
  rows: Change[]; // the most changed first
}

/** A view has appeared. */
export interface Hello {
  kind: "hello";
  view: View;
}

/** This view is gone: with the last one, the kernel rests at once. */
export interface Bye {
  kind: "bye";
  view: View;
}

/** A frame has been painted, or the view lives. */
export interface Ack {
  kind: "ack";
  view: View;
  seq: number; // of the newest frame that was painted
  visible: boolean; // can the view be seen?
}

/** Sliders have moved. */
export interface SetParams {
  kind: "set";
  view: View;
  rev: number; // rises with each; a state says which it answers
  params: Params; // those that moved
  seq?: number; // acknowledged with it
}

/** A button was pressed. */
export interface Do {
  kind: "do";
  what: Action;
}

/** Something else is to be seen: other neurons, or the same ones in another way. */
export interface Select {
  kind: "select";
  layer?: string; // its first neurons, if none are named
  neurons?: string[]; // keys of units
  kernel?: string; // one of `kernel.choices`
  prior?: string; // a name among `prior.choices`
  wired_to?: number; // index of a class: its strongest inputs
}

/** One value of a parameter for all models, or one each. */
export interface Lock {
  kind: "lock";
  name: string; // of the parameter
  locked: boolean; // one for all
}

/** Other rows of a comparison, or other weights of a model that trains. */
export interface ShowOther {
  kind: "show";
  what: string; // a `Show`, or one of `watch.sources`
}

/** A kept checkpoint was chosen. */
export interface Scrub {
  kind: "scrub";
  index: number; // in `watch.kept`
}

/** The picker asks for a page of units. */
export interface AskUnits {
  kind: "units";
  layer: string; // the one on show
  query: string; // the start of a number, or a part of a name
  offset: number; // units to pass over
  limit: number; // units wanted, at most 500
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

/** The name that a view has given itself. */
export type View = string;

export interface Layer {
  name: string; // dotted, as in `model.named_modules()`
  type: string; // class name
  shape: number[]; // of the output for one image
  units: number; // neurons, or channels where the output has positions
  leaf?: boolean; // has no modules inside
}

export interface Unit {
  key: string; // what the kernel calls it; opaque here
  label: string; // "3" or "5@3,4"
  name: string; // class name or ""
}

export interface Parameter {
  name: string; // as in Python
  label: string; // the accessible name of its slider
  group: string; // heading that it stands under
  low: number; // smallest value
  high: number; // largest value
  default: number; // what a reset goes back to
  log: boolean; // logarithmic slider
  zero: boolean; // exactly 0 is allowed as well, below `low`
  integer: boolean; // whole numbers only
  unit: string; // "" if it has none
  help: string; // what it does, in a sentence
  of?: string; // of a comparison, freed: the parameter that each model now has for itself
  model?: number; // and whose this is
}

/** Name of a parameter → its value. */
export type Params = Record<string, number>;

export interface Trouble {
  message: string; // what went wrong
  hint: string; // what to do now
}

export type Fault = Trouble | null;

export interface Kernel {
  name: string; // one of `choices`, or of a kernel of the user's own
  note: string; // what it samples, in words
  calibrated?: boolean; // there is a density that the samples follow
  choices?: string[]; // names of the kernels that can be selected
}

/** The frozen gradient scales, one number a neuron for each term; null: none are used. */
export type Scales = Record<string, number[]> | null;

/** What stands behind the neuron: natural images, or every pixel for itself. */
export interface Prior {
  name: string; // the one in use
  choices: Choice[]; // and all there are
}

export type Choice = [name: string, text: string];

/** How strong the activations of the chains are among those of real images, [model][neuron]; null: not known. */
export type Standing = Place[][] | null;

export interface Place {
  text: string; // in a whole sentence
  short: string; // in two or three words
}

/** The layer feeds one with named classes: neurons can be chosen by what drives a class. */
export interface Wiring {
  label: string; // what is chosen, in words
  classes: string[]; // their names
}

/** A network that tells real pictures from generated ones, and may be trained while the chains run. */
export interface Discriminator {
  only: boolean; // neurons are ignored: the chains follow the discriminator alone
  training: boolean; // it is being trained
  trainable: boolean; // there are real images to learn from
  why: string; // in words why it cannot be trained; "" if it can
  form: string; // what the regulariser takes of D: "logit", "log" or "probability"
}

/** How training goes, on half real and half generated pictures. */
export interface Training {
  round: number; // the last one
  accuracy: number | null; // 0…1
  gap: number | null; // mean logit of real pictures minus that of generated ones
  real: number | null; // mean D, 0…1
  generated: number | null; // likewise
}

export interface TrainingTrace {
  rounds: number[]; // their numbers
  accuracy: (number | null)[]; // one a round
  gap: (number | null)[]; // one a round
}

/** One of the models that are compared. */
export interface ComparedModel {
  name: string; // as the user calls it
  note: string; // its own layer, say; "" if there is nothing to say
}

/** Parameters that may be linked (true: one value for all models) or freed. */
export type Locks = Record<string, boolean>;

/** What a comparison shows of each model. */
export type Show = "samples" | "averages" | "both";

/** How much a neuron changed between the models. */
export interface Change {
  key: string; // as of a unit
  label: string; // as of a unit
  name: string; // as of a unit
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
  snapshot_ms: number | null; // what keeping a checkpoint takes
}

export interface Trace {
  steps: number[]; // where it was recorded
  activation: Table; // [record][neuron], mean over chains
}

export interface Stats {
  frames_per_second: number | null; // sent
  steps_per_second: number | null; // of each chain
  bytes_per_frame?: number | null; // of its buffers
  round_trip_ms: number | null; // from a frame to its acknowledgement; null: none has come
}

export interface Temperature {
  asked: number; // what the slider and the heat ask for
  measured: (number | null)[]; // one a neuron; null: not yet known
}

/** D of the present samples, 0…1, [neuron][chain]; null as a whole: nothing is known of these samples. */
export type Score = Table | null;

/** Rows of numbers; null is not finite. */
export type Table = (number | null)[][];

export interface Pane {
  name: string; // "sample" or "average"; "sample:0", "average:1", "difference:1" when models are compared
  encoding: "raw" | "jpeg" | "png"; // of the buffer
  shape: [rows: number, columns: number, height: number, width: number, channels: number]; // of all tiles together
  range: [low: number | null, high: number | null]; // pixel values of level 0 and level 255; of signed colours, of level 1 and level 255; null: run off to infinity
  labels: string[]; // one a row; "\n" parts the bold line from the small one
  model?: number; // whose it is
  colors?: string; // "signed": one byte a pixel, level 128 is exactly 0
}

/** A picture and what is known of it. */
export interface Still {
  kind?: "frame";
  steps: number; // of the chains
  panes: Pane[]; // a buffer each
  activation: Table; // [neuron][chain]
  burned_in: boolean[][]; // [neuron][chain]
  burn_in_step: number | null; // null: not yet
  activations?: Table; // of a comparison: [model][neuron]
}

export interface Remark {
  label: string; // of the neuron
  text: string; // the verdict on it
}
