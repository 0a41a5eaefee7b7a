/**
 * The comparison of the ledger: do a broker and a member of a group agree on what became of every
 * record of a partition?
 *
 * Both counts were taken at one place in the stream between them, so what is on its way counts on
 * neither side and no clock is asked (Chandy and Lamport: Distributed Snapshots, 1985). Counters of
 * deliveries start anew with each epoch. Refuses to guess: what an attempt that is under way, or
 * has failed, may have settled is allowed for until `hangRounds` intervals have passed.
 */

import type { PartitionStanding } from "../brokers/broker.ts";
import type { LedgerRow } from "../contracts/order-state.ts";
import type { PartitionStats } from "../delivery/in-hand.ts";
import type { PartitionBook } from "../delivery/member-books.ts";

/** What a comparison leaves for the next one of its partition. */
export interface Carried {
  readonly epoch: number;
  /** What the broker had taken as settled by the last answer. */
  readonly settled: number;
  /** What it had some intervals ago, of which not all has been counted here since. */
  readonly oldest: { readonly settled: number; readonly rounds: number };
}

export interface Balanced {
  readonly carried: Carried | undefined;
  /** What does not add up, with both figures; absent: nothing. */
  readonly imbalance?: string;
}

/**
 * Compares the counts of one partition. `carried`: what its last comparison left; `rounds`: how
 * many whole intervals passed since.
 */
export function balance(
  book: PartitionBook,
  carried: Carried | undefined,
  rounds: number,
  hangRounds: number,
): Balanced {
  const { standing, asked, arrived } = book;
  const heardOf = standing === undefined ? 0 : settledIn(asked, standing.epoch);
  const now = standing && carry(standing, heardOf, carried, rounds);
  const problems = [
    ...(arrived === undefined ? [] : problemsOfMember(arrived)),
    ...(standing === undefined ? [] : problemsOfBroker(standing)),
    ...problemsBetween(standing, asked, arrived),
    ...(standing === undefined ? [] : problemsOfTime(standing, asked, carried)),
    ...(now !== undefined && now.oldest.rounds > hangRounds
      ? [`${now.oldest.settled} settled at the broker for long, but ${heardOf} by the group`]
      : []),
  ];
  return { carried: now, ...(problems.length === 0 ? {} : { imbalance: problems.join("; ") }) };
}

/** The row of a partition that a member has; `undefined` for one that it has not. */
export function rowOf(
  group: string,
  { standing, arrived, topic, partition }: PartitionBook,
  imbalance: string | undefined,
): LedgerRow | undefined {
  if (standing === undefined && imbalance === undefined) return undefined;
  return {
    group,
    topic,
    partition,
    published: (standing?.published ?? 0) - (standing?.passedBy ?? 0),
    acked: standing?.acked ?? 0,
    dead: standing?.dead ?? 0,
    inFlight: standing?.inHand ?? 0,
    parked: arrived?.parked ?? 0,
    waiting: standing?.waiting ?? 0,
    redriven: arrived?.redriven ?? 0,
    ...(imbalance === undefined ? {} : { imbalance }),
  };
}

/** Every record is in one place, by counts that were each made where it happened. */
function problemsOfBroker(standing: PartitionStanding): readonly string[] {
  const { published, acked, dead, passedBy, inHand, waiting, unread } = standing;
  const problems: string[] = [];
  const accounted = acked + dead + passedBy + inHand + waiting;
  if (published !== accounted) {
    const parts = `${acked} acked + ${dead} dead + ${passedBy} passed by + ${inHand} in flight`;
    problems.push(`${published} published, but ${parts} + ${waiting} waiting = ${accounted}`);
  }
  if (waiting !== unread) problems.push(`${waiting} waiting, but ${unread} still to be read`);
  return problems;
}

function problemsOfMember(arrived: PartitionStats): readonly string[] {
  const { received, acked, buried, returned, inFlight, parked } = arrived;
  const accounted = acked + buried + returned + inFlight + parked;
  if (received === accounted) return [];
  const parts = `${acked} acked + ${buried} buried + ${returned} returned + ${inFlight} in flight`;
  return [`${received} received, but ${parts} + ${parked} parked = ${accounted}`];
}

/** What was sent has arrived, and nothing counts as settled here that is not settled there. */
function problemsBetween(
  standing: PartitionStanding | undefined,
  asked: PartitionStats | undefined,
  arrived: PartitionStats | undefined,
): readonly string[] {
  const problems: string[] = [];
  // After a revocation a member has no epoch; a delivery in a partition of others gives it one.
  const epoch = standing?.epoch ?? arrived?.epoch ?? 0;
  const received = arrived?.epoch === epoch ? arrived.epochReceived : 0;
  const sent = standing?.sent ?? 0;
  if (received !== sent) problems.push(`${sent} sent, but ${received} received`);
  if (standing === undefined) return problems;
  const settled = settledIn(asked, epoch);
  if (settled > standing.settled) {
    problems.push(`${settled} settled by the group, but ${standing.settled} at the broker`);
  }
  return problems;
}

/** What was settled there by the last answer has been heard of here by now, doubts apart. */
function problemsOfTime(
  { epoch }: PartitionStanding,
  asked: PartitionStats | undefined,
  carried: Carried | undefined,
): readonly string[] {
  if (carried?.epoch !== epoch) return [];
  const settled = settledIn(asked, epoch);
  const doubtful = asked?.doubtful ?? 0;
  if (settled + doubtful >= carried.settled) return [];
  const doubts = doubtful === 0 ? "" : ` with ${doubtful} under way`;
  return [`${carried.settled} settled at the broker, but ${settled} by the group${doubts}`];
}

function settledIn(stats: PartitionStats | undefined, epoch: number): number {
  return stats?.epoch === epoch ? stats.epochSettled : 0;
}

function carry(
  { epoch, settled }: PartitionStanding,
  heardOf: number,
  carried: Carried | undefined,
  rounds: number,
): Carried {
  const isOpen = carried?.epoch === epoch && heardOf < carried.oldest.settled;
  const oldest = isOpen
    ? { settled: carried.oldest.settled, rounds: carried.oldest.rounds + rounds }
    : { settled, rounds: 0 };
  return { epoch, settled, oldest };
}
