/**
 * A member of a group in a process of its own, which can be stopped, frozen and killed.
 *
 * It tells what happens to it in lines of JSON, and takes commands in lines of JSON. A process
 * that dies without having been told to, or that says something else, fails the case. None outlives
 * the process that started it, not even one that is frozen.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { SettleResult } from "../brokers/broker.ts";
import type { RemoteOpen } from "./remote-rig.fixture.ts";

import { assert, ShopError } from "../../runtime/errors.ts";

export interface MemberSetup {
  readonly group: string;
  readonly creditFrames: number;
  /**
   * `hold`: deliveries are kept until `ack` names them. `handle`: each key's deliveries are
   * handled one after the other, `handleMs` each, and acknowledged.
   */
  readonly work: "hold" | "handle";
  readonly handleMs?: number;
  readonly leaseMs?: number;
  readonly partitions?: readonly number[];
  /** How long a drain takes at most, on SIGTERM. */
  readonly drainMs?: number;
}

/** Times are of the wall clock, which processes of one machine share. */
export type MemberEvent =
  | { readonly type: "ready" }
  | { readonly type: "assigned" | "revoking" | "revoked"; readonly partitions: readonly number[] }
  | {
      readonly type: "delivered";
      readonly id: string;
      readonly key: string;
      readonly partition: number;
      readonly sequence: number;
      readonly attempt: number;
      readonly atMs: number;
    }
  | { readonly type: "handled"; readonly id: string; readonly atMs: number }
  | { readonly type: "settled"; readonly id: string; readonly result: SettleResult | "refused" }
  | { readonly type: "failed"; readonly why: string };

export type MemberCommand = { readonly type: "ack"; readonly ids: readonly string[] };

/** What the process gets on its command line. */
export interface MemberOrder {
  readonly rig: string;
  readonly open: Omit<RemoteOpen, "environment">;
  readonly member: MemberSetup;
}

export interface MemberProcess {
  readonly name: string;
  readonly pid: number;
  /** What it told, in its order. */
  readonly events: readonly MemberEvent[];
  /** Partitions it holds, by what it told; none once it is gone. */
  held(): readonly number[];
  /** Wall clock at which it was gone; undefined while it runs. */
  goneAtMs(): number | undefined;
  ack(ids: readonly string[]): void;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** SIGTERM: it drains, closes and ends. The exit code. */
  terminate(): Promise<number>;
  /** SIGSTOP and SIGCONT. */
  freeze(): void;
  thaw(): void;
}

/** Kills its argument once its input ends, which a process that was killed no longer holds open. */
const WATCH = 'read -r _; kill -KILL "$0" 2> /dev/null';
const MAIN = new URL("./member-main.fixture.ts", import.meta.url).pathname;
let members = 0;

/** Resolves when the member has joined; rejects when it ends before. */
export async function startMemberProcess(
  environment: Environment,
  order: MemberOrder,
): Promise<MemberProcess> {
  const name = `member-${++members}`;
  const child = Bun.spawn([process.execPath, MAIN, JSON.stringify(order)], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const watch = Bun.spawn(["bash", "-c", WATCH, String(child.pid)], { stdin: "pipe" });
  const events: MemberEvent[] = [];
  const held = new Set<number>();
  let goneAtMs: number | undefined;
  let isReady = (): void => undefined;
  const ready = new Promise<void>((resolve) => void (isReady = resolve));
  const reading = readLines(child.stdout, (line) => {
    const event = parseEvent(line);
    events.push(event);
    if (event.type === "ready") isReady();
    if (event.type === "assigned") for (const each of event.partitions) held.add(each);
    if (event.type === "revoked") for (const each of event.partitions) held.delete(each);
  });
  const ended = child.exited.then(async (code) => {
    goneAtMs = environment.nowMs();
    watch.kill("SIGKILL");
    held.clear();
    await reading;
    held.clear();
    return code;
  });
  const early = ended.then((code) => {
    throw new ShopError("CLOSED", `${name} ended with ${code} before it had joined`, "never");
  });
  await Promise.race([ready, early]);
  early.catch(() => undefined); // it may end now
  return {
    name,
    pid: child.pid,
    events,
    held: () => [...held].toSorted((one, other) => one - other),
    goneAtMs: () => goneAtMs,
    ack: (ids) => {
      const command: MemberCommand = { type: "ack", ids };
      void child.stdin.write(`${JSON.stringify(command)}\n`);
      void child.stdin.flush();
    },
    kill: async () => {
      child.kill("SIGKILL");
      await ended;
    },
    terminate: async () => {
      child.kill("SIGTERM");
      return await ended;
    },
    freeze: () => child.kill("SIGSTOP"),
    thaw: () => child.kill("SIGCONT"),
  };
}

/** Calls `take` with each line of `stream`. */
export async function readLines(
  stream: ReadableStream<Uint8Array>,
  take: (line: string) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) take(line);
  }
}

function parseEvent(line: string): MemberEvent {
  assert(line.startsWith("{"), `a member process said: ${line}`);
  return JSON.parse(line) as MemberEvent; // written by `member-main.fixture.ts`, with this type
}
