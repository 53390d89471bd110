// The light or dark theme of the surrounding notebook, and colours for drawing on canvases.

/** Paul Tol's bright scheme for light backgrounds (yellow darkened), his light scheme for dark ones; both colour-blind safe. */
const LINES = {
  light: ["#4477AA", "#EE6677", "#228833", "#A58A00", "#3A9BC1", "#AA3377", "#777777"],
  dark: ["#77AADD", "#FFAABB", "#BBCC33", "#EEDD88", "#99DDFF", "#EE8866", "#DDDDDD"],
};
const DASHES = [[], [5, 2], [2, 2]];
const DASH_NAMES = ["solid", "dashed", "dotted"] as const;

/** Colour and dash of the i-th neuron; the dash changes when the colours repeat. */
export function lineStyle(i: number, dark: boolean): { color: string; dash: number[]; border: string } {
  const colors = dark ? LINES.dark : LINES.light;
  const round = Math.floor(i / colors.length) % DASHES.length;
  return { color: colors[i % colors.length]!, dash: DASHES[round]!, border: DASH_NAMES[round]! };
}

/** Whether the host page declares a dark theme; null if it declares none. */
export function pageIsDark(page: Document = document): boolean | null {
  for (const element of [page.body, page.documentElement]) {
    const jupyter = element.dataset["jpThemeLight"];
    if (jupyter) return jupyter === "false";
    const vscode = element.dataset["vscodeThemeKind"];
    if (vscode) return vscode.includes("dark") || vscode === "vscode-high-contrast";
    const named = element.dataset["theme"] ?? element.dataset["mode"] ?? element.getAttribute("theme") ?? ""; // the last is Colab's
    if (element.classList.contains("dark") || named.includes("dark")) return true;
    if (element.classList.contains("light") || named.includes("light")) return false;
  }
  return null;
}

/**
 * Keeps the root's `data-theme` up to date and reports changes. The style sheet alone cannot do this: selectors do not
 * reach out of marimo's shadow DOM, and canvases need concrete colours.
 */
export function watchTheme(root: HTMLElement, signal: AbortSignal, changed: (dark: boolean) => void): void {
  const prefers = window.matchMedia?.("(prefers-color-scheme: dark)");
  let dark: boolean | null = null;
  const look = () => {
    const now = pageIsDark() ?? prefers?.matches ?? false;
    if (now === dark) return;
    dark = now;
    root.dataset["theme"] = dark ? "dark" : "light";
    changed(dark);
  };
  const observer = new MutationObserver(look);
  for (const element of [document.body, document.documentElement]) observer.observe(element, { attributes: true });
  prefers?.addEventListener("change", look, { signal });
  signal.addEventListener("abort", () => observer.disconnect());
  look();
}
