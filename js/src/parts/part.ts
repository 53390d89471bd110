// The interface of a part of the panel. The panel passes every message to every part; each handles what concerns it.
import type { FilledFrame, FilledUnit, Silence } from "../connection";
import type { Changes, Diagnosis, ErrorMessage, Setup, State, UnitBars, Units, UnitTable } from "../protocol";

export interface Part {
  /** The complete state: the first message, sent again after a change of layer, neurons or kernel. */
  setup?(message: Setup): void;
  /** What may change while the chains keep running. A missing field means no change. */
  state?(message: State): void;
  /** Every frame, painted or not. */
  frame?(frame: FilledFrame): void;
  units?(message: Units): void;
  /** Something about the unit whose page is open. */
  unit?(message: FilledUnit): void;
  diagnosis?(message: Diagnosis): void;
  changes?(message: Changes): void;
  unit_table?(message: UnitTable): void;
  unit_bars?(message: UnitBars): void;
  error?(message: ErrorMessage): void;
  /** The kernel refused a request: show its values again. */
  refused?(): void;
  silence?(silence: Silence): void;
  /** The page turned light or dark. */
  theme?(dark: boolean): void;
  /** Whether the panel is visible. */
  visible?(visible: boolean): void;
  close?(): void;
}
