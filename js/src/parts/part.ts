// What a part of the panel may hear. The panel hands every message to every part; each takes what concerns it.
import type { FilledFrame, Silence } from "../connection";
import type { Changes, Diagnosis, ErrorMessage, Setup, State, Units } from "../protocol";

export interface Part {
  /** Everything anew: the first message, and after another layer, other neurons or another kernel was chosen. */
  setup?(message: Setup): void;
  /** What may change while the chains run on. A field that is left out says nothing new. */
  state?(message: State): void;
  /** Every frame, painted or not. */
  frame?(frame: FilledFrame): void;
  units?(message: Units): void;
  diagnosis?(message: Diagnosis): void;
  changes?(message: Changes): void;
  error?(message: ErrorMessage): void;
  /** The kernel refused what was asked for: show what it has. */
  refused?(): void;
  silence?(silence: Silence): void;
  /** The page turned light or dark. */
  theme?(dark: boolean): void;
  /** Whether anybody can see the panel. */
  visible?(visible: boolean): void;
  close?(): void;
}
