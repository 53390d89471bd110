// Keys pressed in the panel stay in the panel.

/**
 * Notebooks act on single keys wherever they are pressed: "x" cuts the cell, "b" inserts one, arrows leave it.
 * JupyterLab listens while an event bubbles, so ending that is enough. Notebook 7 listens before the panel hears of the
 * key, and looks for the mark first on the element in focus: it must stand on that one, the root's own is found too late.
 */
export function keepKeys(root: HTMLElement, signal: AbortSignal): void {
  root.tabIndex = -1; // else a click between two controls gives the focus, and the keys, to the cell
  root.addEventListener("focusin", ({ target }) => (target as Element).setAttribute("data-lm-suppress-shortcuts", "true"), { signal });
  root.addEventListener("keydown", (event) => event.stopPropagation(), { signal });
}
