/**
 * `bun start` as a real process: what it prints, how it ends, and what survives `kill -9`.
 */

import { afterEach, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Subprocess } from "bun";

const READY_WITHIN_MS = 30_000;
const ENTRY = new URL("./main.ts", import.meta.url).pathname;
const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

type Process = Subprocess<"ignore", "pipe", "pipe">;

async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "shopstream-main-"));
  closers.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

function run(data: string, settings: Record<string, string> = {}, argv: string[] = []): Process {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("SHOPSTREAM"));
  const child = Bun.spawn([process.execPath, ENTRY, ...argv], {
    cwd: data,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: {
      ...Object.fromEntries(inherited),
      SHOPSTREAM_DATA: data,
      SHOPSTREAM_PORT: "0",
      SHOPSTREAM_PAYMENT_LATENCY_KIND: "none",
      ...settings,
    },
  });
  closers.push(async () => {
    child.kill("SIGKILL");
    await child.exited;
  });
  return child;
}

/** The address that the process printed, once it did. */
async function addressOf(child: Process): Promise<string> {
  const deadlineMs = performance.now() + READY_WITHIN_MS;
  const decoder = new TextDecoder();
  let printed = "";
  for await (const chunk of child.stdout) {
    printed += decoder.decode(chunk, { stream: true });
    const found = /ready at (http:\S+)/.exec(printed)?.[1];
    if (found !== undefined && printed.includes("curl")) return found;
    if (performance.now() > deadlineMs) break;
  }
  throw new Error(`no address was printed: ${printed}${await new Response(child.stderr).text()}`);
}

/** Reads what the process says until it has said `text`; it may say more, which is not read. */
async function untilSaid(child: Process, text: string): Promise<void> {
  const decoder = new TextDecoder();
  // Not `for await`, whose end would close the pipe under whoever still writes.
  const reader = child.stderr.getReader();
  let said = "";
  while (!said.includes(text)) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`it ended without saying "${text}": ${said}`);
    said += decoder.decode(value, { stream: true });
  }
  reader.releaseLock();
}

/**
 * A payment provider that answers nobody before `answer`. `asked` resolves once `captures` of them
 * wait: only then is there something in flight that a stop can finish or cut off.
 */
function holdCaptures(captures: number) {
  const gate = Promise.withResolvers<void>();
  const enough = Promise.withResolvers<void>();
  const keys = new Set<string>();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    async fetch(request) {
      const key = request.headers.get("idempotency-key") ?? "";
      if (keys.add(key).size === captures) enough.resolve();
      await gate.promise;
      return Response.json({ status: "captured", reference: key });
    },
  });
  closers.push(() => server.stop(true));
  const settings = {
    SHOPSTREAM_PAYMENT_PROVIDER: "http",
    SHOPSTREAM_PAYMENT_URL: `http://127.0.0.1:${server.port}`,
    SHOPSTREAM_PAYMENT_TIMEOUT_MS: "30000",
  };
  return { settings, asked: enough.promise, answer: gate.resolve };
}

async function placeOrder(address: string): Promise<string> {
  const answer = await fetch(`${address}/v1/orders`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      customerId: "ada",
      items: [{ productId: "moka-pot", quantity: 1, price: 25 }],
    }),
  });
  expect(answer.status).toBe(201);
  return ((await answer.json()) as { id: string }).id; // the documented body of 201
}

test("a signal stops it in good order with code 0", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const child = run(await temporaryDirectory());
    await placeOrder(await addressOf(child));
    child.kill(signal);
    expect(await child.exited).toBe(0);
  }
}, 60_000);

test("a stop that has to cut something off says what, and ends with code 1", async () => {
  const provider = holdCaptures(1);
  const settings = { ...provider.settings, SHOPSTREAM_SHUTDOWN_MS: "0" };
  const child = run(await temporaryDirectory(), settings);
  await placeOrder(await addressOf(child));
  await provider.asked;
  child.kill("SIGTERM");
  expect(await new Response(child.stderr).text()).toContain("cut off: ");
  expect(await child.exited).toBe(1);
}, 60_000);

test("shards finish what is in flight together: each has the whole time of a stop", async () => {
  const data = await temporaryDirectory();
  const provider = holdCaptures(40);
  // The shards have 6.5 s of it, from when HTTP has stopped, and a quarter of that is less than
  // the captures take even if that was late.
  const settings = { SHOPSTREAM_SHARDS: "4", SHOPSTREAM_SHUTDOWN_MS: "20000" };
  const child = run(data, { ...settings, ...provider.settings });
  const address = await addressOf(child);
  const ids = await Promise.all(Array.from({ length: 40 }, () => placeOrder(address)));
  await provider.asked;
  child.kill("SIGTERM");
  await untilSaid(child, "once more to force");
  await Bun.sleep(4_000);
  provider.answer();
  expect(await child.exited).toBe(0);
  // A capture that was cut off would never be answered now.
  const successor = await addressOf(run(data, { ...settings, ...holdCaptures(1).settings }));
  const deadlineMs = performance.now() + READY_WITHIN_MS;
  for (const id of ids) {
    let paymentStatus = "";
    while (paymentStatus !== "completed" && performance.now() < deadlineMs) {
      const answer = await fetch(`${successor}/v1/orders/${id}`);
      // The documented body.
      paymentStatus = ((await answer.json()) as { paymentStatus: string }).paymentStatus;
      if (paymentStatus !== "completed") await Bun.sleep(20);
    }
    expect(paymentStatus).toBe("completed");
  }
}, 120_000);

test("a second signal ends a stop that takes long", async () => {
  const provider = holdCaptures(1);
  const settings = { ...provider.settings, SHOPSTREAM_SHUTDOWN_MS: "60000" };
  const child = run(await temporaryDirectory(), settings);
  await placeOrder(await addressOf(child));
  await provider.asked;
  child.kill("SIGTERM");
  await untilSaid(child, "once more to force");
  child.kill("SIGTERM");
  expect(await child.exited).toBe(130);
}, 60_000);

test("every order acknowledged before kill -9 is there after it and comes to its end", async () => {
  const data = await temporaryDirectory();
  const ids: string[] = [];
  for (let round = 0; round < 3; round++) {
    const child = run(data);
    const address = await addressOf(child);
    for (let made = 0; made < 5; made++) ids.push(await placeOrder(address));
    child.kill("SIGKILL");
    await child.exited;
  }
  const child = run(data);
  const address = await addressOf(child);
  for (const id of ids) {
    const deadlineMs = performance.now() + READY_WITHIN_MS;
    let status = "";
    while (status !== "shipped" && status !== "delivered") {
      const answer = await fetch(`${address}/v1/orders/${id}`);
      expect(answer.status).toBe(200);
      status = ((await answer.json()) as { status: string }).status; // the documented body
      if (performance.now() > deadlineMs) throw new Error(`order ${id} is still ${status}`);
      await Bun.sleep(20);
    }
  }
}, 120_000);

test("without its journal the process ends with code 1, soon, and loses nothing", async () => {
  const data = await temporaryDirectory();
  const provider = holdCaptures(1);
  const settings = { SHOPSTREAM_SABOTAGE: "true", SHOPSTREAM_SHUTDOWN_MS: "60000" };
  const child = run(data, { ...settings, ...provider.settings });
  const address = await addressOf(child);
  const id = await placeOrder(address);
  await provider.asked;
  const sabotage = { method: "POST", body: JSON.stringify({ shard: "journal", how: "throw" }) };
  expect((await fetch(`${address}/admin/sabotage`, sabotage)).status).toBe(202);
  const startedMs = performance.now();
  expect(await child.exited).toBe(1);
  expect(performance.now() - startedMs).toBeLessThan(15_000);
  const successor = run(data);
  const found = await fetch(`${await addressOf(successor)}/v1/orders/${id}`);
  expect(found.status).toBe(200);
}, 60_000);

async function ending(child: Process): Promise<{ code: number; said: string }> {
  const said = await new Response(child.stderr).text();
  return { code: await child.exited, said };
}

test("bad settings end with code 2, naming themselves, origin and what is allowed", async () => {
  const data = await temporaryDirectory();
  const settings = { SHOPSTREAM_SHARDS: "many", SHOPSTREAM_SLOT: "64" };
  const { code, said } = await ending(run(data, settings, ["--port=99999"]));
  expect(code).toBe(2);
  expect(said).toContain("SHOPSTREAM_SHARDS");
  expect(said).toContain("auto");
  expect(said).toContain("SHOPSTREAM_SLOTS");
  expect(said).toContain("--port");
  expect(said).toContain("65535");
});

test("a wrong number of slots for the data ends with code 2 and says which is right", async () => {
  const data = await temporaryDirectory();
  const child = run(data);
  await addressOf(child);
  child.kill("SIGTERM");
  await child.exited;
  const { code, said } = await ending(run(data, { SHOPSTREAM_SLOTS: "32" }));
  expect(code).toBe(2);
  expect(said).toContain("64, not 32");
}, 60_000);

test("a second process on the same data ends with code 3 and names the directory", async () => {
  const data = await temporaryDirectory();
  await addressOf(run(data));
  const { code, said } = await ending(run(data));
  expect(code).toBe(3);
  expect(said).toContain(data);
}, 60_000);

test("--help prints every setting", async () => {
  const child = run(await temporaryDirectory(), {}, ["--help"]);
  expect(await new Response(child.stdout).text()).toContain("SHOPSTREAM_SHARDS");
  expect(await child.exited).toBe(0);
});
