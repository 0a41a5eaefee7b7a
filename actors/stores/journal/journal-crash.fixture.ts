/**
 * A process that commits one unit after the other and says so: `try n` before, `ok n` or the
 * refusal's code after. Made to be killed or to be given bad disks at any point.
 *
 * Only for tests. Run as `bun journal-crash.fixture.ts <directory> <units>`; its last line is
 * `reopens n`. With `Infinity` units it goes on until it is killed, or nobody reads what it says:
 * whoever kills it is never too late. Unit n publishes frame n, writes row n, and settles frame
 * n - 2.
 */

import { writeSync } from "node:fs";

import { frameOf, openTestJournal, refOf, SLOTS, stockRow, unitOf } from "./journal.fixture.ts";

const STDOUT = 1;
/** Small enough that the script meets checkpoints and segments too. */
const TUNING = { walFramesSoft: 40, walFramesHard: 80, segmentRecords: 5 };

export const CRASH_GROUP = "readers";
const CRASH_TOPIC = "orders";

export interface CrashScript {
  readonly directory: string;
  readonly units: number;
}

/** The delivery of frame `number`: frames go round the partitions in turn. */
export function deliveryOf(number: number) {
  const sequence = Math.floor(number / SLOTS) + 1;
  return refOf({ topic: CRASH_TOPIC, partition: number % SLOTS, sequence }, CRASH_GROUP);
}

export function runCrashScript({ directory, units }: CrashScript): void {
  // Written at once and without a buffer of ours, so that a kill cannot take it back.
  const say = (line: string) => writeSync(STDOUT, `${line}\n`);
  const journal = openTestJournal(directory, { tuning: TUNING });
  journal.registerGroup(CRASH_GROUP, [CRASH_TOPIC], "earliest");
  for (let number = 0; number < units; number++) {
    say(`try ${number}`);
    const unit = unitOf(
      {
        rows: [stockRow(`row-${number}`, 0)],
        outgoing: [{ topic: CRASH_TOPIC, frame: frameOf(number % SLOTS, `${number}`, number) }],
      },
      { acks: number < 2 ? [] : [deliveryOf(number - 2)] },
    );
    const [outcome] = journal.commit([unit]);
    if (outcome?.kind === "refused") {
      say(`refused ${number} ${outcome.error.code}`);
      // Sequences must stay as `deliveryOf` has them: the same unit again.
      number--;
      continue;
    }
    say(`ok ${number}`);
    journal.maintain();
  }
  say(`reopens ${journal.stats().reopens}`);
  journal.close();
}

if (import.meta.main) {
  const [directory = "", units = "0"] = process.argv.slice(2);
  runCrashScript({ directory, units: Number(units) });
}
