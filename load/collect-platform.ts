/**
 * Asks the stores around the orders what they have of a run, once they have caught up with it.
 *
 * The wait ends when views and groups have had nothing to do for a while, or at its deadline. How
 * far behind a view is, is what it counted last, and a busy machine counts late: so what is not
 * there yet is asked for again until the deadline, and what is not there then is read as it is, and
 * the judge says so. What no time can mend ends the asking at once. A few hundred orders are looked
 * at one by one, spread over the run and over its cancelled orders; everything else is asked for as
 * sums.
 */

import { forEachOf } from "./collect-evidence.ts";
import { mayHeal } from "./evidence.ts";
import { readOutbox } from "./outbox-texts.ts";
import { verify } from "./verify-orders.ts";
import type { CheckName, Evidence } from "./evidence.ts";
import type {
  AuditStanding,
  Figures,
  OrderSample,
  PlatformEvidence,
  Tally,
  ViewState,
} from "./platform-evidence.ts";
import type { PlatformClient } from "./platform-client.ts";

/** How things stood before the first order. */
export interface PlatformBase {
  readonly sinceMs: number;
  readonly figures: Figures;
  readonly audit: AuditStanding;
  readonly deadLetters: number;
}

export interface CollectPlatformOptions {
  /** For the stores to catch up, from the call. */
  readonly restDeadlineMs: number;
  readonly concurrency: number;
  /** Of a shop on this machine. */
  readonly dataDirectory?: string;
  /** Without anything to do for so long means caught up; see `QUIET_MS`. */
  readonly quietMs?: number;
  /** Between two times that everything is asked; absent: a second. */
  readonly askAgainMs?: number;
  /** Something was broken on purpose: a view may fail for a moment. Absent: none may, ever. */
  readonly isAfterFaults?: boolean;
}

interface QuietTerms {
  readonly quietMs?: number | undefined;
  readonly isAfterFaults?: boolean;
}

/** Longer than the time between two looks of a view at how far behind it is. */
const QUIET_MS = 2_000;
const POLL_MS = 250;
const ASK_AGAIN_MS = 1_000;
/** What the stores around the orders are judged by. */
const CHECKS: readonly CheckName[] = [
  "views",
  "analytics",
  "audit",
  "notifications",
  "outbox",
  "books",
  "letters",
];
const SAMPLE_MAX = 150;
const CANCELLED_SAMPLE_MAX = 50;
const NOTHING: Tally = { count: 0, sumMinor: 0 };

/** To be read after earlier orders have come to rest. */
export async function readPlatformBase(
  client: PlatformClient,
  { restDeadlineMs, quietMs }: Pick<CollectPlatformOptions, "restDeadlineMs" | "quietMs">,
): Promise<PlatformBase> {
  const sinceMs = Date.now();
  // An empty shop has nothing to catch up with.
  if ((await client.readAudit()).count > 0) {
    // What fails before the run is not of the run, and is waited for.
    await awaitQuiet(client, performance.now() + restDeadlineMs, { quietMs, isAfterFaults: true });
  }
  return {
    sinceMs,
    figures: await client.readFigures(sinceMs),
    audit: await client.readAudit(),
    deadLetters: await client.countDeadLetters(),
  };
}

export async function collectPlatform(
  client: PlatformClient,
  evidence: Evidence,
  base: PlatformBase,
  options: CollectPlatformOptions,
): Promise<PlatformEvidence> {
  const dueMs = performance.now() + options.restDeadlineMs;
  for (;;) {
    const platform = await askAll(client, evidence, base, options, dueMs);
    const { violations } = verify({ ...evidence, platform });
    if (!mayHeal(violations, CHECKS) || performance.now() >= dueMs) return platform;
    await Bun.sleep(options.askAgainMs ?? ASK_AGAIN_MS);
  }
}

async function askAll(
  client: PlatformClient,
  evidence: Evidence,
  base: PlatformBase,
  options: CollectPlatformOptions,
  dueMs: number,
): Promise<PlatformEvidence> {
  const views = await awaitQuiet(client, dueMs, options);
  const samples = new Map<string, OrderSample>();
  await forEachOf(sampleOf(evidence), options.concurrency, async (id) => {
    const audited = await client.readAudited(id);
    samples.set(id, { audited, notices: await client.readNotices(id) });
  });
  return {
    views,
    samples,
    figures: since(base.figures, await client.readFigures(base.sinceMs)),
    chain: await client.verifyChain(base.audit),
    books: await client.readBooks(),
    deadLetters: (await client.countDeadLetters()) - base.deadLetters,
    ...(options.dataDirectory === undefined ? {} : { outbox: readOutbox(options.dataDirectory) }),
  };
}

/** The views as they stood at the end of the wait, which one that may not fail ends as well. */
async function awaitQuiet(
  client: PlatformClient,
  dueMs: number,
  { quietMs = QUIET_MS, isAfterFaults = false }: QuietTerms,
): Promise<readonly ViewState[]> {
  let quietSinceMs: number | undefined;
  for (;;) {
    const views = await client.readViews();
    const oneFails = views.some(({ isFailing }) => isFailing);
    if (oneFails && !isAfterFaults) return views;
    const { totals } = await client.readBooks();
    const isQuiet =
      !oneFails &&
      views.every(({ lagRecords }) => lagRecords === 0) &&
      totals.every(({ inFlight, waiting }) => inFlight + waiting === 0);
    const nowMs = performance.now();
    quietSinceMs = isQuiet ? (quietSinceMs ?? nowMs) : undefined;
    if (quietSinceMs !== undefined && nowMs - quietSinceMs >= quietMs) return views;
    if (nowMs >= dueMs) return views;
    await Bun.sleep(POLL_MS);
  }
}

/** What was counted on top of `before`. */
function since(before: Figures, now: Figures): Figures {
  const names = [...new Set([...before.keys(), ...now.keys()])];
  return new Map(
    names.map((name) => {
      const was = before.get(name) ?? NOTHING;
      const is = now.get(name) ?? NOTHING;
      const isKnown = was.sumMinor !== undefined && is.sumMinor !== undefined;
      const sumMinor = isKnown ? is.sumMinor - was.sumMinor : undefined;
      return [name, { count: is.count - was.count, sumMinor }];
    }),
  );
}

/** Ids of the orders that are looked at one by one. */
export function sampleOf({ orders }: Pick<Evidence, "orders">): readonly string[] {
  const all = [...orders.keys()];
  const cancelled = all.filter((id) => orders.get(id)?.status === "cancelled");
  return [...new Set([...spread(all, SAMPLE_MAX), ...spread(cancelled, CANCELLED_SAMPLE_MAX)])];
}

/** At most `max` of `all`, at even distances. */
function spread<Item>(all: readonly Item[], max: number): readonly Item[] {
  const step = Math.max(1, all.length / max);
  return all.filter((_, index) => Math.floor(index / step) !== Math.floor((index - 1) / step));
}
