/**
 * The broker port in memory: the reference, and the simulation's broker.
 *
 * Deterministic: it acts only when called and through its environment's timers, and hands
 * deliveries out in a later turn, never in the caller's stack. It survives its own restart only
 * as far as the `MemoryLog` it was opened on does. Faults can be switched on to see that what
 * stands above it copes.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type {
  Broker,
  BrokerCapabilities,
  Burial,
  DeadLetter,
  Delivery,
  DeliveryRef,
  Outgoing,
  PartitionStanding,
  Postponement,
  SettleResult,
  SubscribeOptions,
  Subscription,
} from "./broker.ts";
import type { Member } from "./group-crew.ts";
import type { Appended, MemoryLog } from "./memory-log.ts";

import { ShopError } from "../../runtime/errors.ts";
import { FRAME_BYTES_MAX } from "../../runtime/limits.ts";
import { GroupCoordinator } from "./group-coordinator.ts";
import { soundType } from "./group-partition.ts";

/** Leases are looked at this often within the shortest of the group's. */
const LEASE_CHECKS = 8;

export const MEMORY_CAPABILITIES: BrokerCapabilities = {
  persistent: false,
  confirmIsDurable: false,
  durablePostpone: false,
  replay: true,
  serverDedup: false,
  leasesMove: true,
  sequencesLast: true,
  remoteMembers: false,
  filtersTypes: true,
  frameBytesMax: FRAME_BYTES_MAX,
};

/** Switched on and off while the broker runs. */
export interface MemoryFaults {
  /** Nothing can be stored; what is stored can be read, and acknowledged. */
  diskFull: boolean;
  /** Nothing can be stored or settled. */
  ioFault: boolean;
  /** Frames are stored, but the publisher never learns it: `INDETERMINATE`. */
  confirmsLost: boolean;
  /** The dead letters take nothing. */
  burialsRefused: boolean;
}

export interface MemoryBrokerOptions {
  readonly environment: Environment;
  readonly log: MemoryLog;
  readonly faults?: Readonly<MemoryFaults>;
}

interface Group {
  readonly coordinator: GroupCoordinator;
  /** Of each member, in ms. */
  readonly leases: Map<Member, number>;
  leaseTimer: Timer | undefined;
}

export class MemoryBroker implements Broker {
  readonly capabilities = MEMORY_CAPABILITIES;
  readonly #environment: Environment;
  readonly #log: MemoryLog;
  readonly #faults: Readonly<MemoryFaults> | undefined;
  readonly #groups = new Map<string, Group>();
  readonly #members = new Map<Subscription, { readonly leave: () => void }>();
  #flushDeferred = false;
  #closed = false;

  constructor({ environment, log, faults }: MemoryBrokerOptions) {
    this.#environment = environment;
    this.#log = log;
    this.#faults = faults;
  }

  publish(frames: readonly Outgoing[]): Promise<void> {
    for (const { topic, frame } of frames) {
      this.#checkTopic(topic);
      if (frame.byteLength > FRAME_BYTES_MAX) {
        const size = `a frame of ${frame.byteLength} bytes exceeds ${FRAME_BYTES_MAX}`;
        throw new ShopError("PAYLOAD_TOO_LARGE", size, "never");
      }
    }
    return this.#answer(() => {
      this.#checkStorage();
      this.#appended(this.#log.append(frames));
      this.#rememberPassed();
      this.#deferFlush();
      if (this.#faults?.confirmsLost === true) {
        throw new ShopError("INDETERMINATE", "the confirmation was lost", "later");
      }
    });
  }

  #appended(records: readonly Appended[]): void {
    const coordinators = [...this.#groups.values()].map(({ coordinator }) => coordinator);
    // Whether the bytes are sound is found out once, and only if somebody asks.
    const isTyped = coordinators.some(({ isSelective }) => isSelective);
    for (const { topic, partition, record } of records) {
      const type = isTyped ? soundType(record.bytes) : undefined;
      for (const coordinator of coordinators) coordinator.appended(topic, partition, record, type);
    }
  }

  subscribe(options: SubscribeOptions): Promise<Subscription> {
    return this.#answer(() => {
      for (const topic of options.topics) this.#checkTopic(topic);
      const { group: name, topics, from, onDeliveries, onRevoked } = options;
      this.#log.registerGroup(name, topics, from);
      const group = this.#group(name, options.types);
      const member = group.coordinator.join({
        topics,
        ...(options.partitions === undefined ? {} : { partitions: options.partitions }),
        creditFrames: options.creditFrames,
        creditBytes: options.creditBytes,
        leaseMs: options.leaseMs,
        ...(options.types === undefined ? {} : { types: options.types }),
        deliver: (deliveries) => deliverByPartition(deliveries, onDeliveries),
        revoked: (topic, partitions) => onRevoked?.(topic, partitions),
      });
      group.leases.set(member, options.leaseMs);
      this.#watchLeases(group);
      this.#deferFlush();
      return this.#subscription(group, member);
    });
  }

  /** Acknowledges for a store that commits deliveries together with its rows. */
  acknowledge(deliveries: readonly DeliveryRef[]): readonly SettleResult[] {
    return deliveries.map((ref) => this.#settle(ref, () => this.#log.settle(ref)));
  }

  deadLetters(topic: string, afterId: number, limit: number): Promise<readonly DeadLetter[]> {
    return this.#answer(() => this.#log.deadLetters(topic, afterId, limit));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#members.keys()].map((subscription) => subscription.close(false)));
    this.kill();
  }

  /** The broker is gone from one moment to the next; its log stays. */
  kill(): void {
    this.#closed = true;
    this.#members.clear();
    for (const { leaseTimer } of this.#groups.values()) leaseTimer?.cancel();
    this.#groups.clear();
  }

  /** The member is gone without a word, as when its process is killed. */
  crashMember(subscription: Subscription): void {
    this.#members.get(subscription)?.leave();
  }

  #subscription(group: Group, member: Member): Subscription {
    const { coordinator } = group;
    const leave = (): void => {
      if (!this.#members.delete(subscription)) return;
      coordinator.leave(member);
      group.leases.delete(member);
      this.#deferFlush();
    };
    const setPaused = (paused: boolean): void => {
      coordinator.setPaused(member, paused);
      this.#deferFlush();
    };
    const subscription: Subscription = {
      ack: (deliveries) => this.#answer(() => this.#checked(() => this.acknowledge(deliveries))),
      postpone: (ref, postponement) => this.#answer(() => this.#postpone(ref, postponement)),
      bury: (ref, burial) => this.#answer(() => this.#bury(ref, burial)),
      standing: (look) => this.#standing(subscription, coordinator, member, look),
      pause: () => setPaused(true),
      resume: () => setPaused(false),
      close: () => {
        leave();
        return Promise.resolve();
      },
    };
    this.#members.set(subscription, { leave });
    return subscription;
  }

  /** In a later turn, as deliveries are, and after those that were due before it. */
  async #standing(
    subscription: Subscription,
    coordinator: GroupCoordinator,
    member: Member,
    look: (standings: readonly PartitionStanding[]) => void,
  ): Promise<void> {
    await new Promise<void>((resolve) => this.#environment.defer(resolve));
    this.#checkMember(subscription);
    coordinator.flush();
    look(coordinator.standing(member));
  }

  #checkMember(subscription: Subscription): void {
    if (this.#members.has(subscription)) return;
    throw new ShopError("CLOSED", "the subscription was closed", "never");
  }

  /** This log forgets with the process, so it costs nothing to tell it at once. */
  #rememberPassed(): void {
    for (const { coordinator } of this.#groups.values()) {
      for (const range of coordinator.takePassed()) this.#log.passBy(range);
    }
  }

  #postpone(ref: DeliveryRef, postponement: Postponement): SettleResult {
    this.#checkStorage();
    const result = this.#groups.get(ref.group)?.coordinator.postpone(ref, postponement);
    if (result === "settled") this.#log.postpone(ref, postponement);
    return result ?? "stale";
  }

  #bury(ref: DeliveryRef, burial: Burial): SettleResult {
    this.#checkStorage();
    if (this.#faults?.burialsRefused === true) {
      throw new ShopError("STORAGE_FAULT", "the dead letters take nothing", "later");
    }
    return this.#settle(ref, () => this.#log.bury(ref, burial, this.#environment.nowMs()), "dead");
  }

  /** `store` comes first: what it throws leaves the delivery in hand. */
  #settle(ref: DeliveryRef, store: () => void, how: "acked" | "dead" = "acked"): SettleResult {
    const coordinator = this.#groups.get(ref.group)?.coordinator;
    const result = coordinator?.probe(ref) ?? "stale";
    if (result !== "settled") return result;
    store();
    coordinator?.settle(ref, how);
    this.#deferFlush();
    return result;
  }

  #group(name: string, types: readonly number[] | undefined): Group {
    const known = this.#groups.get(name);
    if (known !== undefined) return known;
    const log = this.#log;
    const coordinator = new GroupCoordinator({
      environment: this.#environment,
      group: name,
      topics: log.topics,
      partitions: log.partitions,
      firstEpoch: log.nextFirstEpoch(),
      ...(types === undefined ? {} : { types }),
      stored: (topic, partition) => log.stored(name, topic, partition),
      read: (topic, partition, after, framesMax, bytesMax) =>
        log.read(topic, partition, after, framesMax, bytesMax),
    });
    const group: Group = { coordinator, leases: new Map(), leaseTimer: undefined };
    this.#groups.set(name, group);
    return group;
  }

  #watchLeases(group: Group): void {
    group.leaseTimer?.cancel();
    if (group.leases.size === 0) return;
    const everyMs = Math.min(...group.leases.values()) / LEASE_CHECKS;
    group.leaseTimer = this.#environment.startTimer(everyMs, () => {
      group.coordinator.flush();
      group.coordinator.expireLeases();
      this.#deferFlush();
      this.#watchLeases(group);
    });
  }

  #deferFlush(): void {
    if (this.#flushDeferred) return;
    this.#flushDeferred = true;
    this.#environment.defer(() => {
      this.#flushDeferred = false;
      for (const { coordinator } of this.#groups.values()) coordinator.flush();
      this.#rememberPassed();
    });
  }

  /** What `act` answers or throws, as a promise; `CLOSED` once the broker is. */
  #answer<Value>(act: () => Value): Promise<Value> {
    return this.#closed
      ? Promise.reject(new ShopError("CLOSED", "the broker was closed", "never"))
      : Promise.try(act);
  }

  #checked<Value>(act: () => Value): Value {
    this.#checkFault();
    return act();
  }

  #checkStorage(): void {
    this.#checkFault();
    if (this.#faults?.diskFull === true) {
      throw new ShopError("STORAGE_FULL", "the disk is full", "later");
    }
  }

  #checkFault(): void {
    if (this.#faults?.ioFault === true) {
      throw new ShopError("STORAGE_FAULT", "the storage does not answer", "later");
    }
  }

  #checkTopic(topic: string): void {
    if (this.#log.topics.includes(topic)) return;
    const known = this.#log.topics.join(", ");
    throw new ShopError("UNKNOWN_TOPIC", `no topic ${topic}; there are ${known}`, "never");
  }
}

/** In their order, which a key may have across topics; those of a partition mostly come in runs. */
function deliverByPartition(
  deliveries: readonly Delivery[],
  deliver: SubscribeOptions["onDeliveries"],
): void {
  let run: Delivery[] = [];
  for (const delivery of deliveries) {
    const [first] = run;
    if (first !== undefined && !isOfOnePartition(first, delivery)) {
      deliver(run);
      run = [];
    }
    run.push(delivery);
  }
  if (run.length > 0) deliver(run);
}

function isOfOnePartition(one: Delivery, other: Delivery): boolean {
  return one.partition === other.partition && one.topic === other.topic;
}
