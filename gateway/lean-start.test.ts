/**
 * A shop without servers loads no client of a server: their code would be parsed and kept by every
 * thread, and cost each order of the embedded form memory and time.
 *
 * What a thread loads at its start is followed through its static imports; an `import()` is loaded
 * by whoever needs it and is not followed.
 */

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const ROOT = join(import.meta.dir, "..");
const THREADS = [
  "gateway/main.ts",
  "actors/shard-main.ts",
  "actors/stores/journal-thread.ts",
  "actors/views/views-main.ts",
];
const CLIENTS = [
  "@opensearch-project/opensearch",
  "@platformatic/kafka",
  "amqplib",
  "ioredis",
  "kafkajs",
  "mongodb",
  "postgres",
];

const transpiler = new Bun.Transpiler({ loader: "ts" });

/** Packages by the way that leads to the first import of each. */
function packagesOf(entry: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const ways = new Map([[join(ROOT, entry), entry]]);
  // A map may grow while it is walked.
  for (const [file, way] of ways) {
    for (const { kind, path } of transpiler.scanImports(readFileSync(file, "utf8"))) {
      if (kind !== "import-statement") continue;
      const target = path.startsWith(".") ? join(dirname(file), path) : undefined;
      if (target === undefined) found.set(path, found.get(path) ?? way);
      else if (target.endsWith(".ts") && !ways.has(target)) {
        ways.set(target, `${way} > ${relative(ROOT, target)}`);
      }
    }
  }
  return found;
}

test.each(THREADS)("%s loads no client of a server at its start", (entry) => {
  const packages = packagesOf(entry);
  const clients = CLIENTS.flatMap((name) => {
    const way = packages.get(name);
    return way === undefined ? [] : [`${name} by ${way}`];
  });
  expect(clients).toEqual([]);
});

test("what is loaded is followed through the files of the shop", () => {
  expect([...packagesOf("gateway/main.ts").keys()]).toContain("elysia");
  const clients = new Set([
    ...packagesOf("actors/grounds/inspect-servers.ts").keys(),
    ...packagesOf("actors/grounds/remote-ground.ts").keys(),
  ]);
  expect(clients).toContain("postgres");
});
