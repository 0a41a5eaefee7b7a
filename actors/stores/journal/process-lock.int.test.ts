/**
 * One process per data directory, and a killed owner leaves it free. The owners are real processes:
 * only the kernel knows when a lock is released.
 */

import { afterAll, expect, test } from "bun:test";

import { openTestJournal, makeDirectory, removeDirectories } from "./journal.fixture.ts";

afterAll(removeDirectories);

const FIXTURE = new URL("journal.fixture.ts", import.meta.url).pathname;

/** Another process that opens the journal, says how that went, and stays as long as we do. */
function spawnOwner(directory: string) {
  const script = `
    import { openTestJournal } from ${JSON.stringify(FIXTURE)};
    try {
      openTestJournal(${JSON.stringify(directory)});
      console.log("opened");
    } catch (error) {
      console.log(error.code, error.message);
    }
    await Bun.stdin.text();
  `;
  return Bun.spawn([process.execPath, "-e", script], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
}

async function firstLine(child: ReturnType<typeof spawnOwner>): Promise<string> {
  let text = "";
  for await (const chunk of child.stdout) {
    text += new TextDecoder().decode(chunk);
    if (text.includes("\n")) break;
  }
  return text.trim();
}

test("a second process is refused by pid, and a kill -9 of the first frees it", async () => {
  const directory = makeDirectory();
  const children = [spawnOwner(directory)];
  try {
    const [owner] = children;
    expect(await firstLine(owner!)).toBe("opened"); // `!`: it was just spawned
    const refused = `data directory ${directory} is in use by process ${owner?.pid}`;
    expect(() => openTestJournal(directory)).toThrow(
      expect.objectContaining({ code: "DATA_DIRECTORY_IN_USE", retry: "never", message: refused }),
    );
    const second = spawnOwner(directory);
    children.push(second);
    expect(await firstLine(second)).toBe(`DATA_DIRECTORY_IN_USE ${refused}`);
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(children.map(({ exited }) => exited));
  }
  openTestJournal(directory).close();
}, 60_000);

test("a second journal in the same process is refused until the first is closed", () => {
  const directory = makeDirectory();
  const first = openTestJournal(directory);
  expect(() => openTestJournal(directory)).toThrow(`process ${process.pid}`);
  // The refused attempt must not have loosened the lock of the first.
  expect(() => openTestJournal(directory)).toThrow(`process ${process.pid}`);
  first.close();
  openTestJournal(directory).close();
});

test("a journal that does not open leaves the directory free", () => {
  const directory = makeDirectory();
  openTestJournal(directory).close();
  expect(() => openTestJournal(directory, { slots: 8 })).toThrow("slots is fixed");
  openTestJournal(directory).close();
});
