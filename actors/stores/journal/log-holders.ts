/**
 * Who holds the log: what each group has yet to settle, and what is kept for nobody that runs.
 *
 * Records of a partition go from its old end alone, so one that is not settled holds all behind
 * it; that is what counts here, not what is left to handle. Sizes are estimates from the mean
 * record. It reads positions and refuses nothing.
 */

import type { JournalCore } from "./journal-core.ts";
import type { JournalOptions, LogHolder, LogHolders } from "./journal-types.ts";

import { absentGroups } from "./group-names.ts";

/** Of the size the log may have: from where a group is named, and where it is well again. */
const NAMED_SHARE = 0.5;
const WELL_SHARE = 0.4;

type Books = Pick<JournalCore, "log" | "settle">;

export function logHolders(
  core: Books,
  options: Pick<JournalOptions, "retention"> & { readonly attended?: ReadonlySet<string> },
): LogHolders {
  const { retention, attended } = options;
  const largest = largestHolder(core, retention.logBytesMax);
  const absent = attended === undefined ? [] : absentGroups(core.settle.groups(), attended);
  const unattended = absent
    .map((group) => ({ group, records: recordsHeld(core, group) }))
    .filter(({ records }) => records > 0);
  return { unattended, ...(largest === undefined ? {} : { largest }) };
}

/** The holder to be named from now on, given who was named: no to and fro around one bound. */
export function namedHolder(
  named: LogHolder | undefined,
  found: LogHolder | undefined,
): LogHolder | undefined {
  if (found === undefined || found.share <= WELL_SHARE) return undefined;
  if (found.group === named?.group) return named;
  return found.share > NAMED_SHARE ? found : undefined;
}

function largestHolder(core: Books, logBytesMax: number): LogHolder | undefined {
  const { log, settle } = core;
  const { bytes } = log;
  if (bytes <= logBytesMax * WELL_SHARE) return undefined;
  const meanBytes = bytes / Math.max(1, log.records);
  let largest: LogHolder | undefined;
  for (const group of settle.groups()) {
    const records = recordsHeld(core, group);
    const share = (records * meanBytes) / logBytesMax;
    if (share > (largest?.share ?? 0)) largest = { group, records, share };
  }
  return largest;
}

function recordsHeld({ settle }: Books, group: string): number {
  let records = 0;
  for (const { consumer, partition, last } of settle.parts(group)) {
    records += last - (consumer.sets[partition]?.position ?? last);
  }
  return records;
}
