/**
 * The gateway's line to the shards: a command goes to the shard that owns its key, and its answer
 * comes back under the same number.
 *
 * Nothing waits without bound: a shard with too many open commands is saturated, and so is a ring
 * whose backlog is full; both refuse at once. A command without an answer by its deadline is
 * forgotten here and `ASK_TIMEOUT`; its effect, if it has one, stands.
 */

import type { ShopCommand } from "../actors/contracts/messages.ts";
import type { CommandReply } from "../actors/contracts/order-state.ts";
import type { Environment, Timer } from "../runtime/environment.ts";
import type { MeshNode } from "../runtime/threads/mesh.ts";
import type { CommandOptions, CommandPort } from "./http/command-port.ts";

import {
  COMMAND,
  decodeNumber,
  decodeReply,
  decodeReplyFailure,
  encodeCommand,
  encodeNumber,
  keyOfCommand,
  REPLY,
} from "../actors/command-frames.ts";
import { ShopError } from "../runtime/errors.ts";
import { slotOf } from "../runtime/frames/murmur2.ts";

/** Commands one shard has not answered yet. */
const OPEN_PER_SHARD_MAX = 8_192;
const EXPIRY_CHECK_MS = 50;

export interface ShardCommandsOptions {
  readonly node: Pick<MeshNode, "send">;
  readonly environment: Environment;
  readonly slots: number;
  /** The mesh's thread of the shard that owns `slot`. */
  readonly shardOf: (slot: number) => number;
}

interface Open {
  readonly shard: number;
  readonly deadlineAtMs: number;
  readonly deadlineMs: number;
  readonly type: string;
  resolve(reply: CommandReply): void;
  reject(error: ShopError): void;
}

export class ShardCommands implements CommandPort {
  readonly #options: ShardCommandsOptions;
  readonly #open = new Map<number, Open>();
  readonly #openPerShard = new Map<number, number>();
  #numbers = 0;
  #expiry: Timer | undefined;
  #closed = false;

  constructor(options: ShardCommandsOptions) {
    this.#options = options;
  }

  /** Commands without an answer. */
  get inFlight(): number {
    return this.#open.size;
  }

  send(command: ShopCommand, options: CommandOptions): Promise<CommandReply> {
    const { node, environment, slots, shardOf } = this.#options;
    if (this.#closed) return Promise.reject(closedError());
    const slot = slotOf(keyOfCommand(command), slots);
    const shard = shardOf(slot);
    const openThere = this.#openPerShard.get(shard) ?? 0;
    const number = (this.#numbers = (this.#numbers + 1) >>> 0);
    const nowMs = environment.nowMs();
    const frame = encodeCommand(command, {
      id: environment.newId(),
      slot,
      timeMs: nowMs,
      deadlineMs: nowMs + options.deadlineMs,
      correlationId: options.correlationId,
      ...traceOf(options.traceparent),
    });
    if (
      openThere >= OPEN_PER_SHARD_MAX ||
      !node.send(shard, COMMAND, encodeNumber(number), frame)
    ) {
      const problem = `shard thread ${shard} has ${openThere} commands to answer`;
      return Promise.reject(new ShopError("SATURATED", problem, "later"));
    }
    this.#openPerShard.set(shard, openThere + 1);
    this.#expiry ??= environment.startTimer(EXPIRY_CHECK_MS, () => this.#expire());
    return new Promise((resolve, reject) => {
      this.#open.set(number, {
        shard,
        deadlineAtMs: environment.monotonicMs() + options.deadlineMs,
        deadlineMs: options.deadlineMs,
        type: command.type,
        resolve,
        reject,
      });
    });
  }

  /** To be called with every record from a shard's ring. */
  onRecord(kind: number, bytes: Uint8Array): void {
    const open = this.#take(decodeNumber(bytes));
    // A shard that took a dead one's place may answer again, or later than anybody waited.
    if (open === undefined) return;
    if (kind === REPLY) open.resolve(decodeReply(bytes));
    else open.reject(decodeReplyFailure(bytes));
  }

  /** Rejects what is open as `INDETERMINATE`, and everything that follows as `CLOSED`. */
  close(): void {
    this.#closed = true;
    this.#expiry?.cancel();
    for (const number of this.#open.keys()) {
      const problem = "the shop stopped before it answered";
      this.#take(number)?.reject(new ShopError("INDETERMINATE", problem, "later"));
    }
  }

  #take(number: number): Open | undefined {
    const open = this.#open.get(number);
    if (open === undefined) return undefined;
    this.#open.delete(number);
    this.#openPerShard.set(open.shard, (this.#openPerShard.get(open.shard) ?? 1) - 1);
    return open;
  }

  #expire(): void {
    const nowMs = this.#options.environment.monotonicMs();
    for (const [number, open] of this.#open) {
      if (open.deadlineAtMs > nowMs) continue;
      const problem = `${open.type} was not answered within ${open.deadlineMs} ms`;
      this.#take(number)?.reject(new ShopError("ASK_TIMEOUT", problem, "later"));
    }
    this.#expiry =
      this.#open.size === 0 || this.#closed
        ? undefined
        : this.#options.environment.startTimer(EXPIRY_CHECK_MS, () => this.#expire());
  }
}

/** `00-<trace id>-<span id>-<flags>`, checked where it came in. */
function traceOf(traceparent: string | undefined): { traceId?: string; spanId?: string } {
  const [, traceId, spanId] = traceparent?.split("-") ?? [];
  return traceId === undefined || spanId === undefined ? {} : { traceId, spanId };
}

function closedError(): ShopError {
  return new ShopError("CLOSED", "the shop is stopping", "later");
}
