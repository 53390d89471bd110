// The kernel's side of the wire, in the hands of the test.
import type { Model } from "../src/connection";
import type { Discriminator, Frame, Parameter, Setup, ToKernel } from "../src/protocol";

export const NAMES = ["zero", "one", "two", "three"];

export function parameter(changes: Partial<Parameter> = {}): Parameter {
  const plain = { name: "step_size", label: "step size", group: "sampler", low: 0, high: 2, default: 0.5, unit: "", help: "How far a step goes." };
  return { ...plain, log: false, zero: false, integer: false, ...changes };
}

export function setupMessage(changes: Partial<Setup> = {}): Setup {
  return {
    kind: "setup",
    gen: 1,
    title: "LeNet-5",
    device: "cpu",
    layer: "fc3",
    layers: [
      { name: "conv2", type: "Conv2d", shape: [16, 10, 10], units: 1600 },
      { name: "fc3", type: "Linear", shape: [10], units: 10 },
    ],
    neurons: NAMES.map((name, i) => ({ key: `k${i}`, label: String(i), name })),
    parameters: [
      parameter(),
      parameter({ name: "temperature", label: "temperature", low: 1e-4, high: 1e4, default: 1, log: true, zero: true }),
      parameter({ name: "l2", label: "L2", group: "image prior", low: 1e-3, high: 10, default: 0.1, log: true, zero: true }),
      parameter({ name: "average", label: "average", group: "picture", low: 1, high: 518, default: 200, log: true, unit: "frames" }),
    ],
    params: { step_size: 0.5, temperature: 1, l2: 0.1, average: 200 },
    chains: 1,
    playing: true,
    recording: false,
    notes: [],
    error: null,
    trace: { steps: [], activation: [] },
    kernel: { name: "Algorithm 1", note: "heuristic" },
    ...changes,
  };
}

export const RICH: Partial<Setup> = {
  kernel: { name: "BAOAB", note: "elastic walls", calibrated: true, choices: ["Algorithm 1", "BAOAB", "MALA"] },
  scales: { neuron: [6, 7, 6.5, 6.54], l2: [28, 28.2, 28.1, 28.1] },
  warming: false,
  wiring: { label: "fc3", classes: ["cat", "dog"] },
};

/** A raw frame of 2 × 2 pixels whose levels are all `level`. */
export function frameMessage(seq: number, { level = 0, average = true, gen = 1, ...changes }: Partial<Frame> & { level?: number; average?: boolean } = {}) {
  const pane = (name: string) => ({
    name,
    encoding: "raw" as const,
    shape: [1, NAMES.length, 2, 2, 1] as [number, number, number, number, number],
    range: [-1, 1] as [number, number],
    labels: [`${name}\nchain 1 of 1`],
  });
  const panes = average ? [pane("sample"), pane("average")] : [pane("sample")];
  const content: Frame = {
    kind: "frame",
    gen,
    seq,
    steps: 10 * seq,
    panes,
    activation: NAMES.map((_, i) => [20 + i + seq / 100]),
    burned_in: NAMES.map(() => [true]),
    burn_in_step: null,
    stats: { frames_per_second: 30, steps_per_second: 60, round_trip_ms: 10 },
    ...changes,
  };
  const buffers = panes.map(() => new DataView(new Uint8Array(NAMES.length * 4).fill(level).buffer));
  return { content, buffers };
}

export class FakeModel implements Model {
  sent: ToKernel[] = [];
  #handlers = new Map<string, Set<(...content: unknown[]) => void>>();
  on(event: string, handler: (...content: never[]) => void): void {
    if (!this.#handlers.has(event)) this.#handlers.set(event, new Set());
    this.#handlers.get(event)!.add(handler as never);
  }
  off(event: string, handler: (...content: never[]) => void): void {
    this.#handlers.get(event)?.delete(handler as never);
  }
  /** Who listens to messages. */
  get handlers(): Set<(...content: unknown[]) => void> {
    return this.#handlers.get("msg:custom") ?? new Set();
  }
  /** The notebook says that it has lost the kernel. */
  disconnect(): void {
    for (const handler of this.#handlers.get("comm_live_update") ?? []) handler();
  }
  send(content: ToKernel): void {
    this.sent.push(content);
  }
  post(content: unknown, buffers: (DataView | ArrayBuffer)[] = []): void {
    for (const handler of this.handlers) handler(content, buffers);
  }
  /** How a kernel of today answers: everything that setups may carry. */
  rich(changes: Partial<Setup> = {}): void {
    this.post(setupMessage({ ...RICH, ...changes }));
  }
  frame(...of: Parameters<typeof frameMessage>): void {
    const { content, buffers } = frameMessage(...of);
    this.post(content, buffers);
  }
  /** What was sent since last asked, of one kind. */
  take<K extends ToKernel["kind"]>(kind: K): Extract<ToKernel, { kind: K }>[] {
    const taken = this.sent.filter((message) => message.kind === kind);
    this.sent = this.sent.filter((message) => message.kind !== kind);
    return taken as Extract<ToKernel, { kind: K }>[];
  }
}

export const JUDGE: Discriminator = { only: false, training: false, trainable: true, why: "", form: "logit" };
