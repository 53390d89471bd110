// Elements whose content is drawn for their size.

/** Reports in the next animation frame, since a response to one size may change another watched size. */
export function watchSize(element: HTMLElement, signal: AbortSignal, changed: (width: number, height: number) => void): void {
  let scheduled = 0;
  const observer = new ResizeObserver((entries) => {
    const { width, height } = entries.at(-1)!.contentRect; // from the entry: reading it from the element would force a layout
    cancelAnimationFrame(scheduled);
    scheduled = requestAnimationFrame(() => changed(width, height));
  });
  observer.observe(element);
  signal.addEventListener("abort", () => {
    observer.disconnect();
    cancelAnimationFrame(scheduled);
  });
}
