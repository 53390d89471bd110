// One bundle and one style sheet for anywidget; `--watch` rebuilds, `--test` bundles and runs the tests, `--protocol`
// writes the types of the messages.
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { messagesAndShapes, typescript } from "./protocol.mjs";

const here = dirname(fileURLToPath(import.meta.url));
process.chdir(here);

const bundle = {
  entryPoints: ["src/widget.ts", "src/widget.css"],
  outdir: "../ldam_widget/static",
  bundle: true,
  format: "esm",
  target: ["es2022", "safari16.4"],
  charset: "utf8",
  logLevel: "info",
};

if (process.argv.includes("--watch")) {
  const context = await esbuild.context({ ...bundle, sourcemap: "inline" });
  await context.watch();
} else if (process.argv.includes("--protocol")) {
  const schemaOf = (folder) => JSON.parse(readFileSync(`${folder}/protocol.schema.json`, "utf8"));
  const [messages, shapes] = messagesAndShapes(schemaOf("src"));
  writeFileSync("src/protocol.ts", messages);
  writeFileSync("src/shapes.ts", shapes);
  for (const folder of ["src/atlas", "src/scatter", "src/toolbox"]) writeFileSync(`${folder}/protocol.ts`, typescript(schemaOf(folder)));
} else if (process.argv.includes("--test")) {
  // Node 20 cannot read TypeScript: bundle each test, then hand the files to Node's own runner.
  const outdir = "build/tests";
  rmSync(outdir, { recursive: true, force: true });
  const tests = readdirSync("tests").filter((name) => name.endsWith(".test.ts"));
  await esbuild.build({
    entryPoints: tests.map((name) => join("tests", name)),
    outdir,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    external: ["jsdom"],
    sourcemap: "inline",
    logLevel: "warning",
  });
  const files = tests.map((name) => join(outdir, name.replace(/\.ts$/, ".mjs")));
  const run = spawnSync(process.execPath, ["--enable-source-maps", "--no-warnings=ExperimentalWarning", "--test", "--test-reporter=spec", ...files], { stdio: "inherit" });
  process.exit(run.status ?? 1);
} else {
  await esbuild.build({ ...bundle, minify: true });
}
