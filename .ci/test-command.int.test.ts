/**
 * The test command over small repositories of its own: whatever happens, the last line is true.
 *
 * Each repository is a folder under the system's temporary directory. Needs nothing but Bun.
 */

import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const COMMAND = join(import.meta.dir, "test.ts");
const TIMEOUT_MS = 60_000;
const roots: string[] = [];

const DOUBLE = "export function double(n: number): number {\n  return n * 2;\n}\n";
const DOUBLE_TEST = `
import { expect, test } from "bun:test";
import { double } from "./double.ts";
test("doubles", () => expect(double(2)).toBe(4));
`;

afterAll(() => {
  for (const root of roots) rmSync(root, { recursive: true, force: true });
});

test(
  "a run in which all is well ends well",
  async () => {
    const { lines, exitCode } = await run({
      "runtime/double.ts": DOUBLE,
      "runtime/double.test.ts": DOUBLE_TEST,
    });
    expect(lines.at(-1)).toBe("1 passed, 0 failed, 0 skipped");
    expect(exitCode).toBe(0);
  },
  TIMEOUT_MS,
);

test(
  "one failing test is enough to fail",
  async () => {
    const { lines, exitCode } = await run({
      "runtime/double.ts": DOUBLE,
      "runtime/double.test.ts": DOUBLE_TEST.replace("toBe(4)", "toBe(5)"),
    });
    expect(lines).toContain("coverage: 100.0 % of lines");
    expect(lines.at(-1)).toBe("0 passed, 1 failed, 0 skipped");
    expect(exitCode).toBe(1);
  },
  TIMEOUT_MS,
);

test(
  "failing, broken and dying tests are counted, and the line is still the last",
  async () => {
    const { lines, exitCode } = await run({
      "runtime/double.ts": DOUBLE,
      "runtime/double.test.ts": DOUBLE_TEST,
      "runtime/wrong.test.ts": `import { expect, test } from "bun:test";
        test("wrong", () => expect(1).toBe(2));`,
      "runtime/broken.test.ts": `import { nothing } from "./nothing.ts"; nothing();`,
      "runtime/dying.test.ts": `import { test } from "bun:test";
        test("dies", () => process.exit(0));`,
    });
    expect(lines.at(-1)).toBe("1 passed, 3 failed, 0 skipped");
    expect(exitCode).toBe(1);
  },
  TIMEOUT_MS,
);

test(
  "a file that no test imports pulls coverage under the floor",
  async () => {
    const { lines, exitCode } = await run({
      "runtime/double.ts": DOUBLE,
      "runtime/double.test.ts": DOUBLE_TEST,
      "actors/forgotten.ts": DOUBLE,
    });
    expect(lines.at(-1)).toBe("1 passed, 0 failed, 0 skipped");
    expect(lines.join("\n")).toContain("FAIL coverage is");
    expect(lines.join("\n")).toContain("3 lines uncovered  actors/forgotten.ts");
    expect(exitCode).toBe(1);
  },
  TIMEOUT_MS,
);

test(
  "skipped tests are listed with their reason",
  async () => {
    const { lines, exitCode } = await run({
      "runtime/double.ts": DOUBLE,
      "runtime/double.test.ts": `${DOUBLE_TEST}
        console.log("skip: kafka: no broker on 9092");
        test.skipIf(true)("publishes", () => {});`,
    });
    expect(lines.at(-1)).toBe("1 passed, 0 failed, 1 skipped");
    expect(lines).toContain("  kafka: no broker on 9092");
    expect(exitCode).toBe(0);
  },
  TIMEOUT_MS,
);

/** A tree with a server in it: a test that imports the door to servers, one suite away. */
const SERVER_TREE = {
  "runtime/double.ts": DOUBLE,
  "runtime/double.test.ts": DOUBLE_TEST,
  "deploy/services/test-server.ts": "export const isUp = true;\n",
  "actors/brokers/kafka/offsets.ts": DOUBLE,
  "actors/brokers/kafka/rig.suite.ts": `export * from "../../../deploy/services/test-server.ts";`,
  "actors/brokers/kafka/offsets.int.test.ts": `
    import { expect, test } from "bun:test";
    import { double } from "./offsets.ts";
    import { isUp } from "./rig.suite.ts";
    test("doubles on a server", () => expect(isUp && double(2)).toBe(4));`,
};

test(
  "tests against real servers are left out and said so, and so is the coverage of their code",
  async () => {
    const { lines, exitCode } = await run(SERVER_TREE);
    expect(lines.at(-1)).toBe("1 passed, 0 failed, 1 skipped");
    expect(lines).toContain("  1 files need real servers: bun run test:services");
    expect(lines).toContain("coverage: 100.0 % of lines");
    expect(exitCode).toBe(0);
  },
  TIMEOUT_MS,
);

test(
  "with --services only these run, one by one, and their code is what must be covered",
  async () => {
    const { lines, exitCode } = await run(SERVER_TREE, { flags: ["--services"] });
    expect(lines.at(-1)).toBe("1 passed, 0 failed, 0 skipped");
    expect(lines.join("\n")).toMatch(/ok {3}1\/1 actors\/brokers\/kafka\/offsets\.int\.test\.ts/);
    expect(lines).toContain("coverage of server code: 100.0 % of lines");
    expect(exitCode).toBe(0);
    const forgotten = { ...SERVER_TREE, "actors/stores/postgres/forgotten.ts": DOUBLE.repeat(9) };
    const second = await run(forgotten, { flags: ["--services"] });
    expect(second.lines.join("\n")).toContain("FAIL server code: coverage is");
    expect(second.exitCode).toBe(1);
  },
  TIMEOUT_MS,
);

test(
  "a server that is required is not left out: all tests run, and the last line counts them all",
  async () => {
    const { lines, exitCode } = await run(SERVER_TREE, { required: "redis,kafka" });
    expect(lines.at(-1)).toBe("2 passed, 0 failed, 0 skipped");
    expect(exitCode).toBe(0);
    const failing = {
      ...SERVER_TREE,
      "actors/brokers/kafka/rig.suite.ts": `export const isUp = false;
        export * from "../../../deploy/services/test-server.ts";`,
    };
    const second = await run(failing, { required: "kafka" });
    expect(second.lines.at(-1)).toBe("1 passed, 1 failed, 0 skipped");
    expect(second.exitCode).toBe(1);
  },
  TIMEOUT_MS,
);

interface RunOptions {
  readonly flags?: readonly string[];
  readonly required?: string;
}

async function run(
  files: Readonly<Record<string, string>>,
  { flags = [], required = "" }: RunOptions = {},
): Promise<{ readonly lines: readonly string[]; readonly exitCode: number }> {
  const root = mkdtempSync(join(tmpdir(), "shopstream-command-"));
  roots.push(root);
  const all = { "package.json": "{}", ".ci/coverage-exempt.json": "{}", ...files };
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const command = Bun.spawn([process.execPath, COMMAND, ...flags, root], {
    stdout: "pipe",
    stderr: "pipe",
    env: { ...Bun.env, SHOPSTREAM_REQUIRE: required },
  });
  const output = await new Response(command.stdout).text();
  return { lines: output.trimEnd().split("\n"), exitCode: await command.exited };
}
