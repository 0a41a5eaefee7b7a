/**
 * What the stores around the orders must say about a whole run.
 *
 * Sums are compared over everything, to the cent; what belongs to one order is looked at for the
 * orders that were sampled. Expectations come from what clients sent and what timelines say, never
 * from another of these stores. Less than is due may come yet; what is too much, does not balance
 * or was altered is broken at first sight.
 */

import { judgeAudited, judgeNotices, reportsOf } from "./sample-rules.ts";
import { broken, early } from "./evidence.ts";
import type {
  CheckName,
  Evidence,
  PlannedOrder,
  Problem,
  TimelineEvent,
  Violation,
} from "./evidence.ts";
import type {
  BookRow,
  BooksState,
  ChainState,
  Figures,
  OutboxState,
  PlatformEvidence,
  Tally,
  ViewState,
} from "./platform-evidence.ts";

const NOTHING: Tally = { count: 0, sumMinor: 0 };
const VIEWS: readonly string[] = ["audit", "analytics"];

/** `seen`: every order of the run by its id, with what was asked. */
export function judgePlatform(
  evidence: Evidence,
  platform: PlatformEvidence,
  seen: ReadonlyMap<string, PlannedOrder>,
): readonly Violation[] {
  const found = [...seen].filter(([id]) => evidence.orders.has(id));
  const lives = found.map(([id, planned]) => ({
    planned,
    timeline: evidence.timelines.get(id) ?? [],
  }));
  const reports = found.flatMap(([id]) => reportsOf(evidence.orders.get(id)?.status));
  const due = lives.reduce((sum, { timeline }) => sum + timeline.length, reports.length);
  const { views, figures, chain, books, deadLetters, outbox } = platform;
  const about = (check: CheckName, subject: string, problems: readonly Problem[]) =>
    problems.map((problem): Violation => ({ check, subject, ...problem }));
  return [
    ...about("views", "all views", judgeViews(views)),
    ...about("analytics", "all orders", judgeFigures(expectedFigures(lives), figures)),
    ...about("audit", "the chain", judgeChain(chain, due)),
    ...about("books", "the ledger", judgeBooks(books)),
    ...about("letters", "dead letters", judgeLetters(deadLetters)),
    ...about("outbox", "outbox files", outbox === undefined ? [] : judgeOutbox(outbox, platform)),
    ...[...platform.samples].flatMap(([id, { audited, notices }]) => {
      const planned = seen.get(id);
      const order = evidence.orders.get(id);
      if (planned === undefined || order === undefined) return [];
      const timeline = evidence.timelines.get(id) ?? [];
      return [
        ...about("audit", id, judgeAudited(planned, order, timeline, audited)),
        ...about("notifications", id, judgeNotices(planned.contact, timeline, notices)),
      ];
    }),
  ];
}

/** Every view has taken the whole log, and says so. */
export function judgeViews(views: readonly ViewState[]): readonly Problem[] {
  return VIEWS.flatMap((name) => {
    const state = views.find(({ view }) => view === name);
    if (state === undefined) return [broken(`${name} does not say how far it is`)];
    if (state.isFailing) return [broken(`${name} fails`)];
    return state.lagRecords === 0 ? [] : [early(`${name} is ${state.lagRecords} records behind`)];
  });
}

interface Life {
  readonly planned: PlannedOrder;
  readonly timeline: readonly TimelineEvent[];
}

/** What analytics must have counted of these orders. */
export function expectedFigures(lives: readonly Life[]): Figures {
  const tallies = new Map<string, { count: number; sumMinor: number }>();
  const add = (name: string, amountMinor: number): void => {
    const { count, sumMinor } = tallies.get(name) ?? { count: 0, sumMinor: 0 };
    tallies.set(name, { count: count + 1, sumMinor: sumMinor + amountMinor });
  };
  for (const { planned, timeline } of lives) {
    const { totalMinor, currency } = planned;
    for (const { type, data } of timeline) {
      const status = String(data["status"]);
      if (type === "order.created") add(`orders ${currency}`, totalMinor);
      if (type === "payment.processed") {
        add(`payments/${status} ${currency}`, totalMinor);
        if (status === "completed") add(`revenue ${currency}`, totalMinor);
      }
      if (type === "inventory.reserved") add(`reservations/${status}`, 0);
      if (type === "order.shipped") add("shipments", 0);
    }
  }
  return tallies;
}

export function judgeFigures(expected: Figures, figures: Figures): readonly Problem[] {
  return [...new Set([...expected.keys(), ...figures.keys()])].flatMap((name) => {
    const due = expected.get(name) ?? NOTHING;
    const told = figures.get(name) ?? NOTHING;
    if (told.count === due.count && told.sumMinor === due.sumMinor) return [];
    const says = `says ${told.count} making ${String(told.sumMinor)}`;
    const detail = `${name}: ${says}, orders and payments say ${due.count} making ${due.sumMinor}`;
    return [isLess(told, due) ? early(detail) : broken(detail)];
  });
}

/** Some are missing, and those that are there make no more than all of them. */
function isLess(told: Tally, due: Tally): boolean {
  const { sumMinor } = told;
  return told.count < due.count && sumMinor !== undefined && sumMinor <= (due.sumMinor ?? 0);
}

/** `due`: entries of all timelines and reports of the carrier; clocks may come on top. */
export function judgeChain(chain: ChainState, due: number): readonly Problem[] {
  const { grown, verified, problem } = chain;
  const problems = problem === undefined ? [] : [broken(`the chain is broken: ${problem}`)];
  if (problem === undefined && verified !== grown) {
    const detail = `${verified} of ${grown} records verified`;
    // What comes while slice after slice is verified is counted with the last of them.
    problems.push(verified < grown ? early(detail) : broken(detail));
  }
  if (grown < due) problems.push(early(`${grown} records, timelines and carrier make ${due}`));
  return problems;
}

/** Nothing is under way any more, and what came in is accounted for. */
export function judgeBooks({ isBalanced, rows, totals }: BooksState): readonly Problem[] {
  const problems = isBalanced ? [] : [broken("the shop says that it does not balance")];
  if (rows.length === 0) problems.push(broken("the ledger is empty"));
  for (const row of [...rows, ...totals]) {
    const { name, published, acked, dead, inFlight, waiting, imbalance } = row;
    const known = acked + dead + inFlight + waiting;
    if (published !== known) {
      problems.push(broken(`${name}: ${published} published, ${known} accounted`));
    }
    if (imbalance !== undefined) problems.push(broken(`${name}: ${imbalance}`));
    if (dead > 0) problems.push(broken(`${name}: ${dead} dead`));
    if (inFlight + waiting > 0) problems.push(early(`${name}: ${inFlight + waiting} not done`));
  }
  for (const group of new Set([...rows, ...totals].map((row) => row.group))) {
    const total = sumOf(totals.filter((row) => row.group === group));
    const sum = sumOf(rows.filter((row) => row.group === group));
    if (total !== sum) problems.push(broken(`${group}: total is ${total}, its rows make ${sum}`));
  }
  return problems;
}

/** Published, acknowledged and dead as text, to be compared. */
function sumOf(rows: readonly BookRow[]): string {
  const add = (pick: (row: BookRow) => number): number =>
    rows.reduce((sum, row) => sum + pick(row), 0);
  return [add((row) => row.published), add((row) => row.acked), add((row) => row.dead)].join("/");
}

export function judgeLetters(deadLetters: number): readonly Problem[] {
  return deadLetters === 0 ? [] : [broken(`${deadLetters} more than before the run`)];
}

/** Every text once; and of the sampled orders, what was sent is there: it is written before. */
export function judgeOutbox(
  { timesById, isWhole }: OutboxState,
  { samples }: Pick<PlatformEvidence, "samples">,
): readonly Problem[] {
  const repeated = [...timesById]
    .filter(([, times]) => times > 1)
    .map(([id, times]) => broken(`${id} is written ${times} times`));
  if (!isWhole) return repeated;
  const sent = [...samples.values()].flatMap(({ notices }) =>
    notices.filter(({ status }) => status === "sent"),
  );
  const missing = sent.filter(({ id }) => !timesById.has(id));
  return [...repeated, ...missing.map(({ id }) => broken(`${id} was sent and is in no file`))];
}
