// Keys pressed in the panel stay in the panel.

/**
 * Notebooks act on single keys wherever they are pressed: "x" cuts the cell, "b" inserts one, arrows leave it.
 * JupyterLab listens in the bubbling phase, so stopping propagation is enough. Notebook 7 listens before the panel gets
 * the key, and checks for the attribute on the focused element first: the attribute must be set there, not on the root.
 */
export function keepKeys(root: HTMLElement, signal: AbortSignal): void {
  root.tabIndex = -1; // otherwise a click between two controls moves the focus, and the keys, to the cell
  root.addEventListener("focusin", ({ target }) => (target as Element).setAttribute("data-lm-suppress-shortcuts", "true"), { signal });
  root.addEventListener("keydown", (event) => event.stopPropagation(), { signal });
}
