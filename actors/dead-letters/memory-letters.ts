/**
 * Dead letters of the memory log: the reference that says what looking at them means.
 *
 * It filters all there are for every call, and refuses what any keeper refuses: pages larger than
 * the bounds.
 */

import type { MemoryLog } from "../brokers/memory-log.ts";
import type { DeadLetter } from "../brokers/broker.ts";
import type {
  DeadLetterReads,
  KeptLetter,
  LetterFilter,
  LetterKind,
  LetterRange,
} from "./letter-port.ts";

import { assert } from "../../runtime/errors.ts";
import { FRAME_HEADER_BYTES } from "../../runtime/frames/frame-header.ts";
import { frameKey } from "../../runtime/frames/frame.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";
import {
  LETTER_IDS_MAX,
  LETTER_KINDS_MAX,
  LETTERS_PAGE_BYTES_MAX,
  LETTERS_PAGE_MAX,
} from "./letter-port.ts";

export function createMemoryLetters(
  log: Pick<MemoryLog, "topics" | "partitions" | "deadLetters">,
): DeadLetterReads {
  function all(): readonly DeadLetter[] {
    return log.topics
      .flatMap((topic) => log.deadLetters(topic, 0, Number.MAX_SAFE_INTEGER))
      .sort((left, right) => left.id - right.id);
  }

  function picked(
    filter: LetterFilter,
    { afterId, throughId = Number.MAX_SAFE_INTEGER }: Omit<LetterRange, "limit">,
  ): readonly DeadLetter[] {
    return all()
      .filter(({ id }) => id > afterId && id <= throughId)
      .filter(fits(filter, log.partitions));
  }

  return {
    letter: async (id) => all().find((letter) => letter.id === id),
    async page(filter, range) {
      checkLimit(range, LETTERS_PAGE_MAX);
      const found = picked(filter, range);
      const letters: KeptLetter[] = [];
      let bytes = 0;
      for (const letter of found.slice(0, range.limit)) {
        bytes += letter.bytes.byteLength;
        if (letters.length > 0 && bytes > LETTERS_PAGE_BYTES_MAX) break;
        letters.push(letter);
      }
      return { letters, isLast: letters.length === found.length };
    },
    async ids(filter, range) {
      checkLimit(range, LETTER_IDS_MAX);
      return picked(filter, range)
        .slice(0, range.limit)
        .map(({ id }) => id);
    },
    async extent(filter) {
      const found = picked(filter, { afterId: 0 });
      return { count: found.length, lastId: found.at(-1)?.id ?? 0 };
    },
    async summary() {
      const kinds = Map.groupBy(all(), ({ topic, group, burial }) =>
        JSON.stringify([topic, group, burial.reason]),
      );
      return [...kinds.values()].map(kindOf).sort(mostFrequent).slice(0, LETTER_KINDS_MAX);
    },
  };
}

function fits(filter: LetterFilter, slots: number): (letter: DeadLetter) => boolean {
  const {
    topic,
    group,
    reason,
    key,
    buriedFromMs = 0,
    buriedBeforeMs = Number.MAX_SAFE_INTEGER,
  } = filter;
  return (letter) =>
    (topic === undefined || letter.topic === topic) &&
    (group === undefined || letter.group === group) &&
    (reason === undefined || letter.burial.reason === reason) &&
    letter.buriedAtMs >= buriedFromMs &&
    letter.buriedAtMs < buriedBeforeMs &&
    (key === undefined ||
      (letter.partition === slotOf(key, slots) &&
        letter.bytes.byteLength >= FRAME_HEADER_BYTES &&
        frameKey(letter.bytes) === key));
}

function kindOf(letters: readonly DeadLetter[]): LetterKind {
  const [first] = letters;
  assert(first !== undefined, "a group has somebody in it");
  const times = letters.map(({ buriedAtMs }) => buriedAtMs);
  return {
    topic: first.topic,
    group: first.group,
    reason: first.burial.reason,
    count: letters.length,
    oldestBuriedAtMs: Math.min(...times),
    newestBuriedAtMs: Math.max(...times),
  };
}

function mostFrequent(left: LetterKind, right: LetterKind): number {
  const [before, after] = [left, right].map(({ topic, group, reason }) =>
    [topic, group, reason].join("\n"),
  );
  return right.count - left.count || ((before ?? "") < (after ?? "") ? -1 : 1);
}

function checkLimit({ limit }: LetterRange, max: number): void {
  assert(Number.isInteger(limit) && limit >= 1 && limit <= max, `${limit} letters of 1 to ${max}`);
}
