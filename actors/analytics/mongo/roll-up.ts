/**
 * Rolling up: what pieces added is brought into the windows, and then forgotten as a piece.
 *
 * Any process may do it at any time, several at once: each document has one place, and what one
 * does not get in is left to the next time. A claim leaves `fresh` only when every window has it,
 * and is remembered as rolled before that, so that nobody makes it known again. It refuses
 * nothing: late events are pieces like others, and windows that were rolled up get another
 * document.
 */

import type { Granularity } from "../event-windows.ts";
import type { AnalyticsSettings } from "../analytics-tuning.ts";
import type { FreshDocument, MongoCollections, PileDocument } from "./mongo-collections.ts";
import type { MongoSettings } from "./mongo-settings.ts";
import type { SeriesCell } from "./series-cells.ts";
import type { PileKind, PilePart } from "./window-piles.ts";

import { GRANULARITIES, HOUR_MS, windowStart } from "../event-windows.ts";
import { insertNew, PROGRESS, VISITORS } from "./mongo-collections.ts";
import { dayOfPiece } from "./piece-store.ts";
import { unpackCells } from "./series-cells.ts";
import { unpackRegisters } from "./sparse-registers.ts";
import {
  advancePiles,
  bytesOf,
  cellPile,
  progressPile,
  readHours,
  visitorPile,
} from "./window-piles.ts";

/** The progress of analytics is one pile. */
export const PROGRESS_START_MS = 0;

export function valuesMaxOf(granularity: Granularity, settings: AnalyticsSettings): number {
  return granularity === "minute" ? settings.minuteValuesMax : settings.hourValuesMax;
}

/** Parts by the start of their hour. */
type Hours<T> = Map<number, PilePart<T>[]>;

/** What the pieces have for each series, in the order of their claims. */
export interface RollUpPlan {
  readonly series: ReadonlyMap<string, Hours<readonly SeriesCell[]>>;
  readonly visitors: Hours<Uint8Array>;
  readonly progress: Hours<number>;
}

export function planRollUp(fresh: readonly FreshDocument[]): RollUpPlan {
  const series = new Map<string, Hours<readonly SeriesCell[]>>();
  const visitors: Hours<Uint8Array> = new Map();
  const progress: Hours<number> = new Map();
  for (const piece of fresh) {
    const { _id: claim } = piece;
    for (const [name, bytes] of Object.entries(piece.cells)) {
      const hours = series.get(name) ?? new Map();
      series.set(name, hours);
      const cells = Map.groupBy(unpackCells(bytesOf(bytes)), ({ startMs }) => hourOf(startMs));
      for (const [startMs, content] of cells) addPart(hours, startMs, { claim, content });
    }
    for (const { hour, registers } of piece.visitors) {
      const content = unpackRegisters(bytesOf(registers));
      addPart(visitors, hour.getTime(), { claim, content });
    }
    addPart(progress, PROGRESS_START_MS, { claim, content: piece.storedAt.getTime() });
  }
  return { series, visitors, progress };
}

/** Rolls up what there is, at most `rollUpPiecesMax` pieces. Resolves with how many it took. */
export async function rollUp(
  collections: MongoCollections,
  settings: AnalyticsSettings,
  { rollUpPiecesMax }: Pick<MongoSettings, "rollUpPiecesMax">,
): Promise<number> {
  const found = await collections.fresh.find({}).sort({ _id: 1 }).limit(rollUpPiecesMax).toArray();
  if (found.length === 0) return 0;
  const { kept, rolled } = await advanceAll(collections, settings, found);
  const claims = found.map(({ _id }) => _id);
  const done = claims.filter((claim) => !kept.has(claim) && !rolled.has(claim));
  for (const [day, ofDay] of Map.groupBy(done, dayOfPiece)) {
    const documents = ofDay.map((_id) => ({ _id }));
    await insertNew(collections.rolled(day), documents);
  }
  const gone = [...rolled, ...done];
  if (gone.length > 0) await collections.fresh.deleteMany({ _id: { $in: gone } });
  return gone.length;
}

/** A series and what is to be added to it, whatever it is made of. */
interface Target {
  read(): Promise<readonly PileDocument[]>;
  advance(
    stored: readonly PileDocument[],
    isFresh: (claim: string) => boolean,
  ): Promise<ReadonlySet<string>>;
}

async function advanceAll(
  collections: MongoCollections,
  settings: AnalyticsSettings,
  found: readonly FreshDocument[],
): Promise<{ readonly kept: ReadonlySet<string>; readonly rolled: ReadonlySet<string> }> {
  const targets = targetsOf(collections, settings, planRollUp(found));
  const stored = await Promise.all(targets.map((target) => target.read()));
  const onlyId = { projection: { _id: 1 } };
  const present = new Set(
    (await collections.fresh.find({}, onlyId).toArray()).map(({ _id }) => _id),
  );
  // Asked after the windows were read: what is not rolled now was named in them, if it was in them.
  const rolled = await rolledAmong(
    collections,
    found.map(({ _id }) => _id),
  );
  if (rolled.size > 0) {
    // Others were here; what is left is taken the next time.
    const left = found.filter(({ _id }) => !rolled.has(_id)).map(({ _id }) => _id);
    return { kept: new Set(left), rolled };
  }
  const isFresh = (claim: string) => present.has(claim);
  const results = await Promise.all(
    targets.map((target, at) => target.advance(stored[at] ?? [], isFresh)),
  );
  return { kept: new Set(results.flatMap((one) => [...one])), rolled };
}

function targetsOf(
  collections: MongoCollections,
  settings: AnalyticsSettings,
  plan: RollUpPlan,
): readonly Target[] {
  const targets: Target[] = [];
  const target = <T>(
    granularity: Granularity,
    name: string,
    parts: Hours<T>,
    kind: PileKind<T>,
  ) => {
    if (parts.size === 0) return;
    const piles = collections.piles(granularity, name);
    targets.push({
      read: () => readHours(piles, parts),
      advance: (stored, isFresh) => advancePiles(piles, stored, parts, kind, isFresh),
    });
  };
  for (const granularity of GRANULARITIES) {
    const kind = cellPile(granularity, valuesMaxOf(granularity, settings));
    for (const [name, parts] of plan.series) target(granularity, name, parts, kind);
  }
  target("hour", VISITORS, plan.visitors, visitorPile);
  target("hour", PROGRESS, plan.progress, progressPile);
  return targets;
}

async function rolledAmong(
  collections: MongoCollections,
  claims: readonly string[],
): Promise<ReadonlySet<string>> {
  const rolled = new Set<string>();
  for (const [day, ofDay] of Map.groupBy(claims, dayOfPiece)) {
    const filter = { _id: { $in: ofDay } };
    for (const { _id } of await collections.rolled(day).find(filter).toArray()) rolled.add(_id);
  }
  return rolled;
}

function addPart<T>(hours: Hours<T>, startMs: number, part: PilePart<T>): void {
  const parts = hours.get(startMs);
  if (parts === undefined) hours.set(startMs, [part]);
  else parts.push(part);
}

function hourOf(startMs: number): number {
  return windowStart(startMs, HOUR_MS);
}
