/**
 * Reading the ids of files that are rotated meanwhile, at every moment that this can happen.
 *
 * The directory is a table; a rotation is the steps that a real one takes, one name at a time.
 */

import { expect, test } from "bun:test";

import { readWrittenIds } from "./outbox-file.ts";

const FILES_MAX = 4;
const nameOf = (age: number): string => (age === 0 ? "email-0.jsonl" : `email-0.${age}.jsonl`);

type Directory = Map<string, readonly string[]>;

/** Files of so many ages, each with its age for an id. */
function directoryOf(ages: number): Directory {
  return new Map(Array.from({ length: ages }, (_, age) => [nameOf(age), [`id ${age}`]]));
}

/** As `openOutboxFile` does it: the older give way first, then a new one begins. */
function rotation(files: Directory): readonly (() => void)[] {
  const moves = Array.from({ length: FILES_MAX - 1 }, (_, at) => FILES_MAX - 1 - at);
  return [
    ...moves.map((age) => () => {
      const moved = files.get(nameOf(age - 1));
      if (moved === undefined) return;
      files.delete(nameOf(age - 1));
      files.set(nameOf(age), moved);
    }),
    () => void files.set(nameOf(0), []),
  ];
}

/** Reads the files while `steps` happen, so many of them before each look as `pace` says. */
async function readWhile(
  files: Directory,
  steps: readonly (() => void)[],
  pace: (look: number) => number,
): Promise<{ readonly ids: readonly string[]; readonly looks: number }> {
  let looks = 0;
  let done = 0;
  const happen = (): void => {
    const through = done + pace(looks++);
    while (done < through) steps[done++]?.();
  };
  const tails = {
    async names() {
      happen();
      return [...files.keys(), "sms-0.jsonl", "email-0.txt"];
    },
    async idsOf(name: string) {
      happen();
      return files.get(name);
    },
  };
  return { ids: await readWrittenIds(tails, "email-", FILES_MAX), looks };
}

/** How many steps happen before each of so many looks, in every way there is. */
function* paces(looks: number, steps: number): Generator<readonly number[]> {
  if (looks === 0) return yield [];
  for (let first = 0; first <= steps; first++) {
    for (const rest of paces(looks - 1, steps - first)) yield [first, ...rest];
  }
}

test.each([
  [1, 1],
  [2, 1],
  [3, 1],
  [1, 2],
  [2, 2],
])("no id of %d files is missed while they are rotated %d times", async (ages, rotations) => {
  const wanted = Array.from({ length: ages }, (_, age) => `id ${age}`);
  const steps = rotations * FILES_MAX;
  let runs = 0;
  for (const pace of paces(FILES_MAX + 1, steps)) {
    const files = directoryOf(ages);
    const all = Array.from({ length: rotations }, () => rotation(files)).flat();
    const { ids, looks } = await readWhile(files, all, (look) => pace[look] ?? 0);
    expect(looks).toBe(FILES_MAX + 1);
    expect({ pace, ids: [...new Set(ids)].toSorted() }).toEqual({ pace, ids: wanted });
    runs++;
  }
  expect(runs).toBeGreaterThan(100);
});

test("ids come oldest file first, also those of more files than are kept now", async () => {
  const files = directoryOf(FILES_MAX + 2);
  const { ids } = await readWhile(files, [], () => 0);
  expect(ids).toEqual(["id 5", "id 4", "id 3", "id 2", "id 1", "id 0"]);
});
