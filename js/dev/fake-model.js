// A model without a kernel: moving blobs instead of samples, so that the panel can be looked at in a plain page.
const NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const parameter = (name, group, low, high, value, extra = {}) => ({
  name, label: name.replaceAll("_", " "), group, low, high, default: value,
  log: false, zero: false, integer: false, unit: "", help: `What ${name} does.`, ...extra,
}); // prettier-ignore
const PARAMETERS = [
  parameter("step_size", "sampler", 1e-3, 10, 0.5, { log: true }),
  parameter("temperature", "sampler", 1e-4, 1e4, 1, { log: true, zero: true }),
  parameter("noise", "sampler", 1e-3, 10, 0.05, { log: true, zero: true }),
  parameter("momentum", "sampler", 0, 0.99, 0.3),
  parameter("friction", "sampler", 0.01, 10, 1, { log: true }),
  parameter("heat", "sampler", 1, 100, 1, { log: true }),
  parameter("steps_per_frame", "sampler", 1, 101, 4, { integer: true }),
  parameter("l2", "image prior", 1e-4, 10, 0.1, { log: true, zero: true, label: "L2" }),
  parameter("discriminator", "image prior", 1e-3, 100, 0, { log: true, zero: true }),
  parameter("average", "picture", 1, 518, 200, { log: true, unit: "frames" }),
  parameter("display_scale", "picture", 0, 10, 1),
  parameter("display_base", "picture", 0, 400, 127.5),
  parameter("chains_shown", "picture", 1, 8, 1, { integer: true }),
];

const COMMON = PARAMETERS.filter(({ name }) => !["noise", "momentum", "friction"].includes(name)).map(({ name }) => name);
const KERNELS = {
  "Algorithm 1": { has: ["noise", "momentum"], calibrated: false, note: "heuristic (unit-normalised gradients): no known law" },
  BAOAB: { has: ["friction"], calibrated: true, note: "elastic walls; exact on quadratics" },
  MALA: { has: [], calibrated: true, accepts: 0.57, note: "" },
  "Leimkuhler–Matthews": { has: [], calibrated: true, note: "step size above 1/L: diverges" },
};

// Option `discriminator`: true, or why it cannot be trained.
// Options `kernel` (one of KERNELS), `ratio` (measured by asked temperature), `old` (an older kernel side), `level`.
export function fakeModel({ neurons = 10, size = 28, channels = 1, chains = 1, jpeg = false, fps = 30, paused = false, notes = 0, kernel = "BAOAB", ratio = 1.01, old = false, level = "warn", discriminator = false } = {}) {
  const handlers = new Set();
  const params = Object.fromEntries(PARAMETERS.map((p) => [p.name, p.default]));
  const units = Array.from({ length: Math.max(neurons, 10) > 10 ? 4096 : 10 }, (_, i) => ({
    key: String(i), label: neurons > 10 && i % 7 === 3 ? `${i}@3,4` : String(i), name: NAMES[i] ?? (i === 12 ? "Staffordshire bullterrier" : ""),
  }));
  let selected = units.slice(0, neurons);
  let [gen, seq, steps, playing, recording, acked] = [1, 0, 0, !paused, false, 0];
  const history = { steps: [], activation: [] };
  let scales = kernel === "Algorithm 1" ? null : {};
  let [warming, pulse] = [false, null];
  const measureScales = () => {
    if (scales) scales = { neuron: selected.map((_, i) => 6.5 + 0.03 * i), l2: selected.map((_, i) => 28.1 + 0.2 * i) };
  };
  measureScales();
  const judge = { only: false, training: false, trainable: discriminator === true, why: discriminator === true ? "" : discriminator, form: "logit" };
  const trained = { rounds: [], accuracy: [], gap: [] };
  const sometimes = { at: 0 };
  const judged = () => { // what frames say of the discriminator, four times a second
    if (!discriminator || performance.now() - sometimes.at < 250) return {};
    sometimes.at = performance.now();
    const score = selected.map((_, i) => Array.from({ length: 8 }, (_, c) => 0.5 + 0.49 * Math.sin(steps / 900 + i + c / 9)));
    if (!judge.training) return { score };
    const round = (trained.rounds.at(-1) ?? 0) + 3;
    const accuracy = 0.5 + 0.4 * (1 - Math.exp(-round / 150)) + 0.06 * Math.sin(round / 7);
    const gap = 6 * (1 - Math.exp(-round / 300)) + Math.sin(round / 11) / 2;
    [trained.rounds.push(round), trained.accuracy.push(accuracy), trained.gap.push(gap)];
    return { score, training: { round, accuracy, gap, real: 0.81, generated: 0.22 } };
  }; // prettier-ignore
  const more = () => (old ? {} : { scales, warming, ...(discriminator ? { discriminator: { ...judge } } : {}) });
  const heat = () => {
    const age = (performance.now() - pulse) / 1000;
    if (pulse !== null && age > 6) pulse = null;
    return pulse === null ? params.heat : Math.max(1, 10 ** Math.min(age, 1, (6 - age) / 3)) * params.heat;
  };
  const jitter = (value, by) => selected.map((_, i) => (i === 3 && steps < 2800 ? null : value + by * Math.sin(steps / 300 + i)));
  const diagnose = () =>
    old ||
    post({
      kind: "diagnosis", level,
      text: { good: "chains agree: R-hat 1.01, 412 independent samples a neuron", wait: "too early to say: 120 of 400 steps", warn: "chains disagree: R-hat 1.34 over 8 chains; heat, or read it as several modes" }[level],
      neurons: selected.map(({ label, name }, i) => ({ label: `${label} ${name}`.trim(), text: `R-hat ${(1.01 + 0.03 * i).toFixed(2)}, ESS ${400 - 31 * (i % 10)}, ${1 + (i % 3)} modes` })),
    }); // prettier-ignore
  const post = (content, buffers = []) => setTimeout(() => handlers.forEach((handler) => handler(content, buffers)), 1);
  const state = (view = null, rev = null) => post({ kind: "state", view, rev, params: { ...params }, playing, recording, kernel_note: KERNELS[kernel].note, ...more() });
  const activation = () =>
    selected.map((_, i) => Array.from({ length: 8 }, (_, c) => (20 - (i % 7)) * (1 - Math.exp(-steps / 200)) + Math.sin(steps / (9 + i) + c) * 0.6));
  const setup = () =>
    post({
      kind: "setup", gen, title: "LeNet-5", device: "cpu", layer: "fc3", neurons: selected, params: { ...params },
      layers: [{ name: "conv2", type: "Conv2d", shape: [16, 10, 10], units: 1600 }, { name: "fc3", type: "Linear", shape: [units.length], units: units.length }],
      chains: 8, playing, recording, error: null, trace: history,
      notes: notes ? ["model was in training mode: sampled in eval mode"] : [],
      parameters: PARAMETERS.filter(({ name }) => (name !== "discriminator" || discriminator) && (COMMON.includes(name) || KERNELS[kernel].has.includes(name))),
      kernel: { name: kernel, note: KERNELS[kernel].note, ...(old ? {} : { calibrated: KERNELS[kernel].calibrated, choices: Object.keys(KERNELS) }) },
      ...(discriminator ? { training_trace: trained } : {}),
      ...(old ? {} : { wiring: { label: "fc3 ← conv2", classes: NAMES } }), ...more(),
    }); // prettier-ignore

  function tiles(rows, soft) {
    const bytes = new Uint8Array(rows * selected.length * size * size * channels);
    let at = 0;
    for (let r = 0; r < rows; r++)
      for (let i = 0; i < selected.length; i++)
        for (let y = 0; y < size; y++)
          for (let x = 0; x < size; x++)
            for (let c = 0; c < channels; c++) {
              const angle = i + r + c / 2 + (soft ? 0 : steps / 300);
              const [u, v] = [x / size - 0.5 - 0.2 * Math.cos(angle), y / size - 0.5 - 0.2 * Math.sin(angle)];
              const ring = Math.exp(-((Math.hypot(u, v) - 0.18) ** 2) * 300);
              bytes[at++] = Math.min(255, 230 * ring + (soft ? 0 : Math.random() * 60));
            }
    return bytes;
  }

  async function frame() {
    steps += params.steps_per_frame;
    const rows = Math.max(chains, Math.round(params.chains_shown));
    const panes = [{ name: "sample", labels: Array.from({ length: rows }, (_, i) => `sample\nchain ${i + 1} of 8`), bytes: tiles(rows) }];
    if (seq % 6 === 0 || !playing) panes.push({ name: "average", labels: [`average\n${Math.round(params.average)} frames`], bytes: tiles(1, true) });
    const buffers = [];
    for (const pane of panes) {
      pane.shape = [pane.name === "sample" ? rows : 1, selected.length, size, size, channels];
      pane.range = [0, 1];
      pane.encoding = jpeg ? "jpeg" : "raw";
      buffers.push(new DataView(jpeg ? await encode(pane) : pane.bytes.buffer));
      delete pane.bytes;
    }
    const values = activation();
    history.steps.push(steps);
    history.activation.push(values.map((v) => v.reduce((a, b) => a + b) / 8));
    post({
      kind: "frame", gen, seq: ++seq, steps, panes, activation: values, burned_in: values.map((v) => v.map(() => steps > 310)),
      burn_in_step: steps > 310 ? 310 : null, stats: { frames_per_second: fps, steps_per_second: fps * params.steps_per_frame, round_trip_ms: 12 },
      ...(old ? {} : { temperature: { asked: params.temperature, measured: jitter(ratio, 0.02).map((v) => v && v * (params.temperature || 0.013)) }, heat: heat() }),
      ...judged(),
      ...(KERNELS[kernel].accepts ? { acceptance: jitter(KERNELS[kernel].accepts, 0.05) } : {}),
    }, buffers); // prettier-ignore
  }

  async function encode({ shape: [rows, columns, height, width, n], bytes }) {
    const canvas = new OffscreenCanvas(columns * width, rows * height);
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    for (let tile = 0; tile < rows * columns; tile++) {
      for (let i = 0; i < width * height; i++)
        for (let c = 0; c < 4; c++) image.data[4 * i + c] = c === 3 ? 255 : bytes[(tile * width * height + i) * n + Math.min(c, n - 1)];
      context.putImageData(image, (tile % columns) * width, Math.floor(tile / columns) * height);
    }
    return (await canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 })).arrayBuffer();
  }

  setInterval(() => playing && seq - acked < 2 && frame(), 1000 / fps);
  const deeds = {
    play: () => (playing = true), pause: () => (playing = false), step: () => frame(), record: () => (recording = true),
    stop_record: () => (recording = false), restart: () => (steps = 0), heat: () => (pulse = performance.now()),
    train: () => (judge.training = true), stop_train: () => (judge.training = false),
    discriminator_only: () => (judge.only = true), with_neurons: () => (judge.only = false),
    measure_scales: () => {
      warming = true;
      setTimeout(() => ((warming = false), measureScales(), state()), 2000);
    },
    snapshot: () => post({ kind: "download", filename: "ldam.txt", mime: "text/plain" }, [new TextEncoder().encode("snapshot").buffer]),
  }; // prettier-ignore
  const answers = {
    hello: () => (setup(), frame(), diagnose()),
    ack: (message) => (acked = message.seq),
    set: ({ view, rev, params: changed }) => ("heat" in changed && (pulse = null), Object.assign(params, changed), state(view, rev)),
    do: ({ what }) => (deeds[what]?.(), state()),
    select: ({ neurons: keys, kernel: name, wired_to: index }) => {
      if (name) [kernel, scales] = [name, name === "Algorithm 1" ? null : {}];
      if (index !== undefined) selected = units.slice(0, 10).toSorted((a, b) => ((a.key * 7 + index) % 10) - ((b.key * 7 + index) % 10)).slice(0, 6);
      if (keys) selected = keys.map((key) => units.find((unit) => unit.key === key));
      [gen, history.steps.length, history.activation.length] = [gen + 1, 0, 0];
      measureScales();
      setup();
      frame();
      diagnose();
    },
    units: ({ layer, query, offset, limit }) => {
      const found = units.filter(({ label, name }) => `${label} ${name}`.includes(query));
      const noted = (unit) => (old ? unit : { ...unit, note: unit.key % 3 ? `wired .${90 - (unit.key % 60)}` : "4, 9, seven" });
      post({ kind: "units", layer, query, offset, total: found.length, units: found.slice(offset, offset + limit).map(noted) });
    },
  };
  return {
    post,
    get seq() { return acked; }, // prettier-ignore
    on: (event, handler) => event === "msg:custom" && handlers.add(handler),
    off: (_event, handler) => handlers.delete(handler),
    send: (message) => answers[message.kind]?.(message),
    prime: (count) => { // a history, as after a while of running
      for (let i = 0; i < 60; i++) ((judge.training = discriminator === true), (sometimes.at = -Infinity), judged());
      judge.training = false;
      for (let i = 0; i < count; i++) {
        steps += 4;
        history.steps.push(steps);
        history.activation.push(activation().map((v) => v.reduce((a, b) => a + b) / 8));
      }
    }, // prettier-ignore
  };
}
