/**
 * The relay over a table in memory, on virtual time; brokers fail and heal as a test says.
 *
 * Nothing here checks anything, and nothing of it is a real server.
 */

import type { Outgoing } from "../../brokers/broker.ts";
import type { RelayLaneSettings } from "./outbox-relay-settings.ts";
import type { OutboxFrame, OutboxTable } from "./outbox-relay-table.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { createOutboxRelay } from "./outbox-relay.ts";
import { RELAY_LANE_SETTINGS } from "./outbox-relay-settings.ts";

export const ME = "me";

/** A table in memory; `commit` writes without telling anybody. */
class MemoryOutbox implements OutboxTable {
  readonly rows: (OutboxFrame & { readonly relay: string })[] = [];
  reads = 0;
  looks = 0;
  isDown = false;
  /** Called once, when a page has been read and is not there yet. */
  onceRead: (() => void) | undefined;

  commit(relay: string, frames: readonly OutboxFrame[]): readonly OutboxFrame[] {
    this.rows.push(...frames.map((frame) => ({ ...frame, relay })));
    this.rows.sort((left, right) => left.id - right.id);
    return frames;
  }

  async read(...[{ relays, topics }, { framesMax, bytesMax }]: Parameters<OutboxTable["read"]>) {
    this.#check();
    this.reads++;
    const mine = this.rows.filter(
      ({ relay, topic }) => relays.includes(relay) && topics.includes(topic),
    );
    let bytes = 0;
    const frames = mine
      .slice(0, framesMax)
      .filter((row, at) => (bytes += row.frame.length) <= bytesMax || at === 0);
    this.onceRead?.();
    this.onceRead = undefined;
    return { frames, isAll: frames.length === mine.length };
  }

  async oldest(...[relayId, shares]: Parameters<OutboxTable["oldest"]>) {
    this.#check();
    this.looks++;
    return shares.flatMap((topics) => {
      const row = this.rows.find(({ relay, topic }) => relay === relayId && topics.includes(topic));
      return row === undefined ? [] : [row];
    });
  }

  async count({ relays, topics }: Parameters<OutboxTable["count"]>[0]): Promise<number> {
    this.#check();
    return this.rows.filter(({ relay, topic }) => relays.includes(relay) && topics.includes(topic))
      .length;
  }

  async countOthers({ relays, topics }: Parameters<OutboxTable["countOthers"]>[0]) {
    this.#check();
    const others = this.rows.filter(
      ({ relay, topic }) => relays.includes(relay) && !topics.includes(topic),
    );
    return [...Map.groupBy(others, ({ topic }) => topic)].map(([topic, { length: frames }]) => ({
      topic,
      frames,
    }));
  }

  async remove(ids: readonly number[]): Promise<void> {
    this.#check();
    for (const id of ids) {
      const at = this.rows.findIndex((row) => row.id === id);
      if (at >= 0) this.rows.splice(at, 1);
    }
  }

  async settled(): Promise<void> {
    this.#check();
  }

  #check(): void {
    if (this.isDown) throw new ShopError("STORAGE_FAULT", "the table is away", "later");
  }
}

class FakeBroker {
  readonly published: number[] = [];
  readonly batches: number[] = [];
  fails: ShopError | undefined;
  /** Takes everything and confirms nothing. */
  isSilent = false;
  readonly poison = new Set<number>();
  /** Frames that no queue takes, while their neighbours are stored: all that is known is that. */
  readonly unread = new Set<number>();
  /** What is said of a publication that has no others. */
  code: "UNKNOWN_TOPIC" | "INDETERMINATE" = "UNKNOWN_TOPIC";

  publish(frames: readonly Outgoing[]): Promise<void> {
    const ids = frames.map(({ frame }) => idOf(frame));
    const bad = ids.find((id) => this.poison.has(id));
    if (bad !== undefined) throw new ShopError("PAYLOAD_TOO_LARGE", `frame ${bad}`, "never");
    if (this.fails !== undefined) return Promise.reject(this.fails);
    const taken = ids.filter((id) => !this.unread.has(id));
    if (taken.length < ids.length) {
      this.published.push(...taken);
      const code = taken.length === 0 ? this.code : "INDETERMINATE";
      return Promise.reject(new ShopError(code, "some found no queue", "later"));
    }
    this.batches.push(ids.length);
    this.published.push(...ids);
    return this.isSilent ? new Promise(() => undefined) : Promise.resolve();
  }
}

function idOf(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset).getUint32(0);
}

export function frameOf(id: number, topic = "orders", bytes = 8): OutboxFrame {
  const frame = new Uint8Array(bytes);
  new DataView(frame.buffer).setUint32(0, id);
  return { id, topic, slot: id % 4, frame };
}

export function framesOf(first: number, last: number, topic?: string): readonly OutboxFrame[] {
  return Array.from({ length: last - first + 1 }, (_, index) => frameOf(first + index, topic));
}

export function start(settings: Partial<RelayLaneSettings> = {}) {
  const environment = createVirtualEnvironment();
  const table = new MemoryOutbox();
  const broker = new FakeBroker();
  const other = new FakeBroker();
  const refused: number[] = [];
  const states: string[] = [];
  const logged: string[] = [];
  const relay = createOutboxRelay({
    environment,
    table,
    relayId: ME,
    lanes: [
      { name: "kafka", broker, topics: ["orders", "payments"] },
      { name: "redis", broker: other, topics: ["mails"] },
    ],
    settings: { ...RELAY_LANE_SETTINGS, ...settings },
    onRefused: async ({ id }) => void refused.push(id),
    onLog: (level, text) => void logged.push(`${level} ${text}`),
    onState: (name, isUp) => void states.push(`${name} ${isUp ? "up" : "down"}`),
  });
  /** Commits and tells, as a store does. */
  const commit = (frames: readonly OutboxFrame[]): void => relay.outgoing(table.commit(ME, frames));
  return { environment, table, broker, other, relay, refused, states, logged, commit };
}
