import "./page";
import assert from "node:assert/strict";
import { test } from "node:test";
import { CoverageTable } from "../src/scatter/coverage";

test("what chains cover is a table of plain text, hidden while there is none", () => {
  const table = new CoverageTable();
  assert.equal(table.element.hidden, true);
  const head = ["neuron", "home", "stays"];
  table.take({ kind: "coverage", head, rows: [["3 three", "<b>3</b>", "81 %"], ["5 five", "5", "–"]] });
  assert.equal(table.element.hidden, false);
  const cells = [...table.element.querySelectorAll("tbody td")].map(({ textContent }) => textContent);
  assert.deepEqual(cells, ["3 three", "<b>3</b>", "81 %", "5 five", "5", "–"]);
  const heads = [...table.element.querySelectorAll("th")];
  assert.deepEqual(heads.map(({ textContent }) => textContent), head);
  assert.match(heads[2]!.title, /locked/);
  table.take({ kind: "coverage", head, rows: [] });
  assert.equal(table.element.hidden, true);
});
