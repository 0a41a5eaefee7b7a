/**
 * The process behind `member-process.fixture.ts`: joins a group and tells what happens to it.
 *
 * Its one argument is a `MemberOrder`. It ends on SIGTERM, after a drain, and when its standard
 * input does, so that none outlives the test that started it.
 */

import type { Delivery, Subscription } from "../brokers/broker.ts";
import type { MemberCommand, MemberEvent, MemberOrder } from "./member-process.fixture.ts";

import { assert, describeError } from "../../runtime/errors.ts";
import { decodeFrame } from "../../runtime/frames/frame.ts";
import { systemEnvironment } from "../../runtime/system-environment.ts";
import { readLines } from "./member-process.fixture.ts";
import { loadRig } from "./remote-rig.fixture.ts";

const CREDIT_BYTES = 16 * 1_024 * 1_024;
const LEASE_MS = 120_000;
const DRAIN_MS = 10_000;

const environment = systemEnvironment;
const [, , argument] = process.argv;
assert(argument !== undefined, "the order is missing");
const order = JSON.parse(argument) as MemberOrder; // written by `startMemberProcess`
const { member } = order;

/** Of each key, what is still to be handled; its first is being handled. */
const work = new Map<string, Delivery[]>();
const held = new Map<string, Delivery>();
/** Of each key, the delivery that is being handled, until it is settled. */
const running = new Map<string, { readonly partition: number; readonly done: Promise<void> }>();
let isDraining = false;
let isIdle = (): void => undefined;
/** Once it has joined. */
const seat: { subscription?: Subscription } = {};
const early: (() => void)[] = [];

function tell(event: MemberEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

function take(deliveries: readonly Delivery[]): void {
  for (const delivery of deliveries) {
    const { partition, sequence, attempt, bytes } = delivery;
    const { key, payload } = decodeFrame(bytes);
    const id = new TextDecoder().decode(payload);
    const atMs = environment.nowMs();
    if (member.work === "hold") {
      tell({ type: "delivered", id, key, partition, sequence, attempt, atMs });
      held.set(id, delivery);
      continue;
    }
    const queue = work.get(key) ?? [];
    work.set(key, queue);
    queue.push(delivery);
    if (queue.length === 1) handle(key, queue);
  }
}

/** Handles the first of a key, then the next. What it tells as delivered has begun. */
function handle(key: string, queue: Delivery[]): void {
  const [delivery] = queue;
  if (delivery === undefined || isDraining) {
    work.delete(key);
    if (work.size === 0) isIdle();
    return;
  }
  const { partition, sequence, attempt } = delivery;
  const id = new TextDecoder().decode(decodeFrame(delivery.bytes).payload);
  tell({ type: "delivered", id, key, partition, sequence, attempt, atMs: environment.nowMs() });
  const done = new Promise<void>((resolve) => {
    environment.startTimer(member.handleMs ?? 0, () => {
      tell({ type: "handled", id, atMs: environment.nowMs() });
      void settle([[id, delivery]]).then(resolve);
    });
  });
  running.set(key, { partition, done });
  void done.then(() => {
    running.delete(key);
    queue.shift();
    handle(key, queue);
  });
}

/** Resolves when nothing of these partitions is being handled. */
async function finish(partitions: readonly number[]): Promise<boolean> {
  const theirs = [...running.values()].filter(({ partition }) => partitions.includes(partition));
  await Promise.all(theirs.map(({ done }) => done));
  return true;
}

async function settle(entries: readonly (readonly [string, Delivery])[]): Promise<void> {
  const joined = seat.subscription;
  if (joined === undefined) {
    await new Promise<void>((resolve) => void early.push(resolve));
    await settle(entries);
    return;
  }
  try {
    const results = await joined.ack(entries.map(([, delivery]) => delivery));
    for (const [index, [id]] of entries.entries()) {
      tell({ type: "settled", id, result: results[index] ?? "refused" });
    }
  } catch {
    for (const [id] of entries) tell({ type: "settled", id, result: "refused" });
  }
}

/** What is queued of these partitions is another's now. */
function forget(partitions: readonly number[]): void {
  for (const queue of work.values()) {
    const [first] = queue;
    const kept = queue.filter((each) => each === first || !partitions.includes(each.partition));
    queue.splice(0, queue.length, ...kept);
  }
}

async function end(): Promise<void> {
  if (isDraining) return;
  isDraining = true;
  seat.subscription?.pause();
  if (work.size > 0) {
    await new Promise<void>((resolve) => {
      isIdle = resolve;
      environment.startTimer(member.drainMs ?? DRAIN_MS, resolve);
    });
  }
  await seat.subscription?.close(false);
  await broker.close();
  process.exit(0);
}

function fail(error: unknown): void {
  tell({ type: "failed", why: describeError(error) });
  process.exit(1);
}

// From the start: a server that does not answer must not keep it alive without its test.
void readLines(Bun.stdin.stream(), (line) => {
  const { ids } = JSON.parse(line) as MemberCommand; // written by `startMemberProcess`
  const entries = ids.flatMap((id) => {
    const delivery = held.get(id);
    return delivery === undefined ? [] : [[id, delivery] as const];
  });
  void settle(entries);
}).finally(() => process.exit(0));

const openBroker = await loadRig(order.rig);
const broker = await openBroker({ ...order.open, environment });
seat.subscription = await broker.subscribe({
  group: member.group,
  topics: order.open.topics,
  from: "earliest",
  creditFrames: member.creditFrames,
  creditBytes: CREDIT_BYTES,
  leaseMs: member.leaseMs ?? LEASE_MS,
  ...(member.partitions === undefined ? {} : { partitions: member.partitions }),
  onAssigned: (_topic, partitions) => {
    tell({ type: "assigned", partitions });
    return Promise.resolve();
  },
  onRevoking: (_topic, partitions) => {
    tell({ type: "revoking", partitions });
    forget(partitions);
    return finish(partitions);
  },
  onRevoked: (_topic, partitions) => {
    tell({ type: "revoked", partitions });
    forget(partitions);
  },
  onDeliveries: take,
  onFailure: fail,
});
for (const resolve of early.splice(0)) resolve();
process.on("SIGTERM", () => void end().catch(fail));
tell({ type: "ready" });
