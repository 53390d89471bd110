// Entry point, called for each view by anywidget and other front ends that support its module format.
import type { AnyModel } from "@anywidget/types";
import type { Model } from "./connection";
import { showAtlas } from "./atlas/atlas";
import { type Model as AtlasModel, Files, Kernel } from "./atlas/source";
import { showPanel } from "./panel";
import { showScatter } from "./scatter/scatter";
import type { Model as ScatterModel } from "./scatter/wire";
import { showToolbox } from "./toolbox/toolbox";
import type { Model as ToolboxModel } from "./toolbox/wire";

interface View {
  model: AnyModel;
  el: HTMLElement;
  signal?: AbortSignal; // anywidget >= 0.11; marimo and others may not pass it
}

function render({ model, el, signal }: View): () => void {
  const end = new AbortController();
  if (signal?.aborted) return () => {};
  signal?.addEventListener("abort", () => end.abort());
  const kind: unknown = model.get?.("_kind");
  if (kind === "scatter") showScatter(model as unknown as ScatterModel, el, end.signal);
  else if (kind === "toolbox") showToolbox(model as unknown as ToolboxModel, el, end.signal);
  else if (kind === "atlas") showAtlas(new Kernel(model as unknown as AtlasModel), el, end.signal);
  else showPanel(model as unknown as Model, el, end.signal);
  return () => end.abort();
}

/** Shows the exported atlas that lies beside the page. */
export function browse(place: HTMLElement): void {
  showAtlas(new Files(), place, new AbortController().signal);
}

export { replay } from "./replay";
export default { render };
