/**
 * Events stored for good and counted once, whatever fails in between and whoever stores the same.
 *
 * A piece is stored in three steps, each an insert that happens once: its events, under the ids
 * of their messages; a claim that says which of them it was that stored them; and, under the
 * claim's id, what they add to the windows. An event that was there already belongs to another
 * piece: before a repeat is acknowledged, that piece is brought to its end, by whoever meets it.
 * So every event that was acknowledged is in exactly one claim, and every claim's sums are known.
 * No clock decides.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { EventFacts, VisitorHours } from "./event-facts.ts";
import type { ClaimDocument, FreshDocument, MongoCollections } from "./mongo-collections.ts";

import { Binary } from "mongodb";

import { ShopError } from "../../../runtime/errors.ts";
import { PendingCells } from "../pending-cells.ts";
import { documentOf, factsIn } from "./event-document.ts";
import { addFacts } from "./event-facts.ts";
import { indexDay, insertNew } from "./mongo-collections.ts";
import { cellsBySeries, packCells } from "./series-cells.ts";
import { packRegisters } from "./sparse-registers.ts";

/** Claims of one piece that others may come first with, before somebody gives up for now. */
const ROUNDS_MAX = 32;

/** Of a claim for what a payment has of its order. */
export const JOIN_NUMBER = -1;

/** The claims that a piece may have: numbers count from 0. */
export function claimId(piece: string, number: number): string {
  return `${piece}/${number}`;
}

/** The day whose collections a piece or a claim is in. */
export function dayOfPiece(id: string): number {
  return Number(/_(\d+)(?:\/|$)/.exec(id)?.[1]);
}

export class PieceStore {
  readonly #collections: MongoCollections;
  readonly #environment: Pick<Environment, "newId">;
  /** Days that have their indexes. */
  readonly #days = new Set<number>();

  constructor(collections: MongoCollections, environment: Pick<Environment, "newId">) {
    this.#collections = collections;
    this.#environment = environment;
  }

  /** Stores `facts`, of one day and with different ids. Resolves with those that were new. */
  async store(day: number, facts: readonly EventFacts[]): Promise<readonly EventFacts[]> {
    await this.#prepare(day);
    // Ids made later sort later, and so do the pieces.
    const piece = `${this.#environment.newId()}_${day}`;
    const documents = facts.map((one) => documentOf(one, piece));
    const known = await insertNew(this.#collections.events(day), documents);
    const fresh = facts.filter((_, place) => !known.has(place));
    if (fresh.length > 0 && !(await this.#claim(piece, 0, fresh))) await this.settle(piece);
    if (known.size > 0) {
      const ids = facts.filter((_, place) => known.has(place)).map(({ id }) => id);
      await this.#settleRepeats(day, ids);
    }
    return fresh;
  }

  /** Brings `piece` to its end: all of its events are claimed, all of its claims are known. */
  async settle(piece: string): Promise<void> {
    const day = dayOfPiece(piece);
    for (let round = 0; round < ROUNDS_MAX; round++) {
      // Claims first: an event that is stored after this has its own claim, or meets ours.
      const claims = await this.#collections.claims(day).find({ piece }).toArray();
      const numbered = claims.filter(({ number }) => number !== JOIN_NUMBER);
      const documents = await this.#collections.events(day).find({ piece }).toArray();
      const facts = new Map(documents.map(factsIn).map((one) => [one.id, one]));
      for (const { _id: claim, ids } of await this.#unknownOf(day, numbered)) {
        const own = ids.map((id) => facts.get(id)).filter((one) => one !== undefined);
        await this.makeKnown(claim, own);
      }
      for (const { ids } of numbered) for (const id of ids) facts.delete(id);
      if (facts.size === 0) return;
      if (await this.#claim(piece, numbered.length, [...facts.values()])) return;
    }
    throw new ShopError("STORAGE_FAULT", `mongodb: others keep claiming ${piece}`, "later");
  }

  /** Makes what `facts` add to the windows known to readers, once. */
  async makeKnown(claim: string, facts: readonly EventFacts[]): Promise<void> {
    await insertNew(this.#collections.fresh, [freshDocument(claim, facts)]);
  }

  async #prepare(day: number): Promise<void> {
    if (this.#days.has(day)) return;
    await indexDay(this.#collections, day);
    this.#days.add(day);
  }

  /** False: another has claimed that number. */
  async #claim(piece: string, number: number, facts: readonly EventFacts[]): Promise<boolean> {
    const name = claimId(piece, number);
    const claim: ClaimDocument = { _id: name, piece, number, ids: facts.map(({ id }) => id) };
    const known = await insertNew(this.#collections.claims(dayOfPiece(piece)), [claim]);
    if (known.size > 0) return false;
    await this.makeKnown(name, facts);
    return true;
  }

  async #settleRepeats(day: number, ids: readonly string[]): Promise<void> {
    const found = await this.#collections
      .events(day)
      .find({ _id: { $in: [...ids] } }, { projection: { piece: 1 } })
      .toArray();
    if (found.length < ids.length) {
      // Seen by the primary, and not yet by a majority: it might still go away.
      throw new ShopError("STORAGE_FAULT", "mongodb: events are not safe yet", "later");
    }
    for (const piece of new Set(found.map((one) => one.piece))) await this.settle(piece);
  }

  /** Claims whose sums nobody has made known. */
  async #unknownOf(
    day: number,
    claims: readonly ClaimDocument[],
  ): Promise<readonly ClaimDocument[]> {
    const ids = claims.map(({ _id }) => _id);
    const known = await this.knownAmong(day, ids);
    return claims.filter(({ _id }) => !known.has(_id));
  }

  /** Those of `claims` that readers know of. */
  async knownAmong(day: number, claims: readonly string[]): Promise<ReadonlySet<string>> {
    if (claims.length === 0) return new Set();
    const filter = { _id: { $in: [...claims] } };
    const onlyId = { projection: { _id: 1 } };
    // In the order in which a roll-up moves them.
    const fresh = await this.#collections.fresh.find(filter, onlyId).toArray();
    const rolled = await this.#collections.rolled(day).find(filter, onlyId).toArray();
    return new Set([...fresh, ...rolled].map(({ _id }) => _id));
  }
}

export function freshDocument(claim: string, facts: readonly EventFacts[]): FreshDocument {
  const cells = new PendingCells();
  const visitors: VisitorHours = new Map();
  let storedAtMs = 0;
  for (const one of facts) {
    addFacts(one, cells, visitors);
    storedAtMs = Math.max(storedAtMs, one.storedAtMs);
  }
  const packed = [...cellsBySeries(cells.minutes())].map(([name, series]) => {
    return [name, new Binary(packCells(series))] as const;
  });
  return {
    _id: claim,
    storedAt: new Date(storedAtMs),
    cells: Object.fromEntries(packed),
    visitors: [...visitors].map(([hourMs, registers]) => {
      return { hour: new Date(hourMs), registers: new Binary(packRegisters(registers)) };
    }),
  };
}
