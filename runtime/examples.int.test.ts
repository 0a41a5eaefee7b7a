/**
 * The guide's example of threads, with a real one; and the guide itself, against the examples.
 *
 * What `README.md` shows as TypeScript must stand, line by line, in a file that is compiled and
 * run. A block that is nowhere fails here by its first line.
 */

import { expect, test } from "bun:test";

import {
  createHeartbeats,
  createMeshMemory,
  MeshNode,
  startSupervisor,
  systemEnvironment,
  threadChild,
} from "./index.ts";

const EXAMPLES = ["examples.test.ts", "examples.int.test.ts", "example-thread.fixture.ts"];
const TS_BLOCK = /^```ts\n(.*?)^```$/gms;

test("a supervised thread answers over its ring", async () => {
  const environment = systemEnvironment;
  const heartbeats = createHeartbeats(2);
  const memory = createMeshMemory(`example-${environment.newId()}`, [
    { from: 0, to: 1, ringBytes: 65_536 },
    { from: 1, to: 0, ringBytes: 65_536 },
  ]);
  const answered = Promise.withResolvers<string>();
  const node = new MeshNode({
    memory,
    me: 0,
    environment,
    backlogBytesMax: 1_048_576,
    listeners: [
      {
        from: 1,
        release: "read",
        onRecord: (_kind, bytes) => answered.resolve(new TextDecoder().decode(bytes.slice())),
      },
    ],
  });
  const echo = threadChild({
    id: "echo",
    restart: "permanent",
    environment,
    entry: new URL("./example-thread.fixture.ts", import.meta.url),
    thread: 1, // its word among the heartbeats
    heartbeats,
    workerData: () => ({ memory, heartbeats }),
    readyWithinMs: 30_000,
    stallMs: 10_000, // without a beat for so long: terminated and replaced
    stopWithinMs: 5_000,
    stopGraceMs: 500,
  });
  const supervisor = await startSupervisor(
    { id: "threads", strategy: "one_for_one", intensity: 10, periodMs: 60_000, children: [echo] },
    environment,
  );

  expect(node.send(1, 1, new TextEncoder().encode("stressed"))).toBe(true);
  expect(await answered.promise).toBe("desserts");

  await supervisor.stop();
  node.close();
}, 60_000);

test("the guide shows nothing that is not compiled and run", async () => {
  const guide = await readBeside("README.md");
  const sources = (await Promise.all(EXAMPLES.map(readBeside))).map(withoutLayout);
  const blocks = [...guide.matchAll(TS_BLOCK)].map(([, code = ""]) => withoutLayout(code));
  expect(blocks.length).toBeGreaterThan(5);
  for (const block of blocks) {
    const isRun = sources.some((source) => source.includes(block));
    expect(isRun ? "run" : block).toBe("run");
  }
});

function readBeside(name: string): Promise<string> {
  return Bun.file(new URL(name, import.meta.url)).text();
}

/** Without indentation and empty lines, in which guide and examples may differ. */
function withoutLayout(code: string): string {
  return code
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .join("\n");
}
