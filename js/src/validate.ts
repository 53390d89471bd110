// Checks kernel messages against the protocol. Another version of the kernel side may send fewer, more or other fields:
// fields that do not match their declaration are dropped, and nothing throws.
import type { Change, Changes, FromKernel, Kernel } from "./protocol";

type Check = (value: unknown) => boolean;

const isText = (value: unknown): value is string => typeof value === "string";
const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
const isFlag = (value: unknown): value is boolean => typeof value === "boolean";
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const orNull = (check: Check): Check => (value) => value === null || check(value);
const listOf = (check: Check): Check => (value) => Array.isArray(value) && value.every(check);
const recordOf = (check: Check): Check => (value) => isObject(value) && Object.values(value).every(check);
const oneOf = (...values: unknown[]): Check => (value) => values.includes(value);
const tuple = (length: number, check: Check): Check => (value) => Array.isArray(value) && value.length === length && value.every(check);
const shape = (fields: Record<string, Check>, optional: Record<string, Check> = {}): Check => (value) =>
  isObject(value) &&
  Object.entries(fields).every(([name, check]) => check(value[name])) &&
  Object.entries(optional).every(([name, check]) => !Object.hasOwn(value, name) || check(value[name]));

/** A copy without the optional fields that fail their check. */
function keep(content: Record<string, unknown>, optional: Record<string, Check>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(content).filter(([name, value]) => !Object.hasOwn(optional, name) || optional[name]!(value)));
}

const isScales = orNull(recordOf(listOf(isNumber)));
const perNeuron = listOf(orNull(isNumber));
const isMeasured = orNull(isNumber); // a diverged network has no finite values
const isDiscriminator = orNull(shape({ only: isFlag, training: isFlag, trainable: isFlag, why: isText, form: isText }));
const isPrior = orNull(shape({ name: isText, choices: listOf(tuple(2, isText)) }));
const isTable = listOf(perNeuron);
const ofChange = { change: isMeasured, error: isMeasured, noise: isMeasured };
const isChange = shape(
  {
    key: isText,
    label: isText,
    name: isText,
    difference: isMeasured,
    correlation: isMeasured,
    gap: isMeasured,
    activations: listOf(isMeasured),
  },
  ofChange,
);
const isWatch = orNull(
  shape(
    {
      iteration: isNumber,
      kept: listOf(isNumber),
      shown: isMeasured,
      following: isFlag,
      source: isText,
      sources: listOf(isText),
      cost: isMeasured,
      snapshot_ms: isMeasured,
    },
    { counted: isText },
  ),
);
const isRange = tuple(2, isMeasured);
const ofPane = { model: isNumber, colors: isText, ranges: listOf(listOf(isRange)), corners: listOf(tuple(2, isNumber)) };
const isPane = shape(
  { name: isText, encoding: oneOf("raw", "jpeg", "png"), shape: tuple(5, isNumber), range: isRange, labels: listOf(isText) },
  ofPane,
);
const isStill = shape(
  { steps: isNumber, panes: listOf(isPane), activation: isTable, burned_in: listOf(listOf(isFlag)), burn_in_step: isMeasured },
  { kind: oneOf("frame"), activations: isTable },
);
const isSize = tuple(2, isNumber);
const isDisplay = shape(
  {
    contrast: oneOf("as it is", "stretched"),
    bands: listOf(isNumber),
    band_count: isNumber,
    cropped: isFlag,
    field: orNull(isSize),
    window: orNull(isSize),
    picture: isSize,
  },
  { fields: orNull(listOf(tuple(4, isNumber))) },
);
const isRemark = shape({ label: isText, text: isText });
const isBelief = shape({ running: isFlag, level: oneOf("good", "warn", "wait"), text: isText, neurons: listOf(isRemark) });
const isBars = shape({ low: isNumber, high: isNumber, counts: listOf(isNumber) });
const isColumns = shape({
  unit: listOf(isNumber),
  dead: listOf(isFlag),
  best_class: listOf(isText),
  ...Object.fromEntries(["mean", "max", "zero_share", "selectivity", "partner", "correlation", "change", "kept"].map((name) => [name, perNeuron])),
});
const ofMember = { dead: isFlag };
const isContribution = shape({ layer: isText, unit: isNumber, name: isText, value: isMeasured });
const isTopImage = shape({ value: isMeasured, name: isText, place: listOf(isNumber) });
const isHistogram = shape({ low: isMeasured, high: isMeasured, counts: listOf(isNumber), below: isNumber, above: isNumber });
const isSeen = shape({
  images: isNumber,
  of: isNumber,
  final: isFlag,
  map: listOf(isNumber),
  dead: isFlag,
  silent: isMeasured,
  mean: isMeasured,
  histogram: isHistogram,
  top: listOf(isTopImage),
  boxes: listOf(listOf(isNumber)),
});
const isSubject = shape({ key: isText, layer: isText, unit: isNumber, units: isNumber, name: isText, back: isFlag, networks: listOf(isText) });
const ofUnit: Record<string, Check> = {
  subject: isSubject,
  progress: shape({ done: isNumber, total: isNumber }),
  seen: isSeen,
  connections: shape({ inputs: listOf(isContribution), outputs: listOf(isContribution) }),
  panes: listOf(isPane),
  optimised: isMeasured,
  sampled: isMeasured,
  remark: shape({ about: isText, text: isText }),
  complete: isFlag,
  stale: isText,
};
const SETTINGS: Record<string, Check> = { kernel_note: isText, calibrated: isFlag, scales: isScales, warming: isFlag, goal: orNull(isText), display: isDisplay };
const COMPARED: Record<string, Check> = { locks: recordOf(isFlag), show: oneOf("samples", "averages", "both"), scanning: isFlag };
const OPTIONAL: Record<FromKernel["kind"], Record<string, Check>> = {
  setup: {
    ...SETTINGS,
    prior: isPrior,
    real_images: isFlag,
    wiring: orNull(shape({ label: isText, classes: listOf(isText) })),
    belief: isBelief,
    discriminator: isDiscriminator,
    training_trace: shape({ rounds: listOf(isNumber), accuracy: listOf(isMeasured), gap: listOf(isMeasured) }),
    models: listOf(shape({ name: isText, note: isText })),
    ...COMPARED,
    open_unit: isMeasured,
    watch: isWatch,
    unit_page: oneOf("always", "on demand"),
    unit_shown: isMeasured,
  },
  state: {
    view: isText,
    rev: isNumber,
    ...SETTINGS,
    belief: isBelief,
    discriminator: isDiscriminator,
    ...COMPARED,
    open_unit: isMeasured,
    watch: isWatch,
    unit_shown: isMeasured,
  },
  frame: {
    earlier: listOf(isStill),
    execution: isText,
    temperature: orNull(shape({ asked: isNumber, measured: perNeuron })),
    acceptance: orNull(perNeuron),
    heat: isNumber,
    score: orNull(isTable),
    standing: orNull(listOf(listOf(shape({ text: isText, short: isText })))),
    training: orNull(shape({ round: isNumber, accuracy: isMeasured, gap: isMeasured, real: isMeasured, generated: isMeasured })),
    activations: isTable,
    agreement: listOf(isChange),
    watch: isWatch,
    unit: orNull(shape({ id: isNumber, values: perNeuron, ranks: perNeuron })),
  },
  units: { problem: isText },
  error: {},
  download: {},
  diagnosis: {},
  changes: {},
  enlarge: {},
  unit_table: { activations: orNull(isBars), weights: orNull(isBars) },
  unit_bars: { activations: orNull(isBars), weights: orNull(isBars) },
  unit: ofUnit,
};
const isEnlarge = shape({ neuron: orNull(isText), chain: isNumber, model: isNumber });
const LEVELS = new Set<unknown>(["good", "warn", "wait"]);

/** A newer kernel side may send more than this front end knows: unknown messages and fields are dropped. */
export function parse(content: unknown): FromKernel | null {
  if (!isObject(content) || !isText(content["kind"]) || !Object.hasOwn(OPTIONAL, content["kind"])) return null;
  const kind = content["kind"] as FromKernel["kind"];
  const message = keep(content, OPTIONAL[kind]);
  if (kind === "setup") message["kernel"] = kernelOf(message["kernel"]);
  if (kind === "setup") keepEach(message, "layers", { leaf: isFlag });
  if (kind === "setup") keepEach(message, "neurons", ofMember);
  if (kind === "units") keepEach(message, "units", ofMember);
  if (kind === "setup") keepEach(message, "parameters", { of: isText, model: isNumber });
  if (kind === "frame") keepEach(message, "panes", ofPane);
  if (kind === "changes") keepEach(message, "rows", ofChange);
  if (kind === "frame" && isObject(message["stats"])) message["stats"] = keep(message["stats"], { bytes_per_frame: isMeasured });
  if (kind === "changes") return changesOf(message);
  if (kind === "enlarge" && !isEnlarge(message)) return null;
  if (kind === "unit_table" && !(isText(message["layer"]) && isNumber(message["images"]) && areUnits(message["columns"]))) return null;
  if (kind === "unit_table" || kind === "unit_bars") return { activations: null, weights: null, ...message } as unknown as FromKernel;
  if (kind === "diagnosis") {
    if (!isText(message["text"]) || !LEVELS.has(message["level"])) return null;
    const neurons: unknown = message["neurons"];
    message["neurons"] = Array.isArray(neurons) ? neurons.filter(isRemark) : [];
  }
  return message as unknown as FromKernel;
}

/** `keep` for each object in a list. */
function keepEach(message: Record<string, unknown>, name: string, optional: Record<string, Check>): void {
  const list = message[name];
  if (Array.isArray(list)) message[name] = list.map((each: unknown) => (isObject(each) ? keep(each, optional) : each));
}

function changesOf({ layer, done, total, running, error, rows }: Record<string, unknown>): Changes | null {
  if (!isText(layer) || !isNumber(done) || !isNumber(total) || !isFlag(running)) return null;
  const sound = (Array.isArray(rows) ? rows.filter(isChange) : []) as Change[];
  return { kind: "changes", layer, done, total, running, error: isText(error) ? error : "", rows: sound };
}

/** Columns of one length. */
function areUnits(columns: unknown): boolean {
  if (!isColumns(columns)) return false;
  const lengths = Object.values(columns as Record<string, unknown[]>).map((values) => values.length);
  return lengths.every((length) => length === lengths[0]);
}

function kernelOf(content: unknown): Kernel {
  const kernel = isObject(content) ? keep(content, { name: isText, note: isText, calibrated: isFlag, choices: listOf(isText) }) : {};
  return { name: "", note: "", ...kernel };
}
