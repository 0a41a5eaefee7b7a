/**
 * Where the records of one partition are in the log: row ids by sequence.
 *
 * The log is one table in order of arrival, which is what makes appending fast; this finds a
 * partition's records in it. Sequences are contiguous, so a queue of ids is enough: 8 bytes a
 * record. Refuses nothing; asking outside `first..last` gives `undefined`.
 */

const CAPACITY_MIN = 64;

export interface PartitionIndex {
  /** Sequence of the oldest record kept; `last + 1` when none is. */
  first(): number;
  /** Sequence of the newest record ever appended. */
  last(): number;
  /** Row id of `sequence`; 0 stands for a record that is missing though it was written. */
  idOf(sequence: number): number | undefined;
  push(id: number): void;
  /** Takes back the last `push`. */
  pop(): void;
  /** Drops the oldest record. */
  shift(): void;
  /** Puts `id` back in front; reverses `shift`. */
  unshift(id: number): void;
}

/** An empty index whose first record will have sequence `first`. */
export function createPartitionIndex(first: number): PartitionIndex {
  let ids = new Float64Array(CAPACITY_MIN);
  let head = 0;
  let count = 0;
  let firstSequence = first;

  function resize(capacity: number): void {
    const next = new Float64Array(capacity);
    for (let at = 0; at < count; at++) {
      next[at] = ids[(head + at) & (ids.length - 1)]!; // `!`: masked by the length
    }
    ids = next;
    head = 0;
  }

  return {
    first: () => firstSequence,
    last: () => firstSequence + count - 1,
    idOf(sequence) {
      const at = sequence - firstSequence;
      return at >= 0 && at < count ? ids[(head + at) & (ids.length - 1)] : undefined;
    },
    push(id) {
      if (count === ids.length) resize(ids.length * 2);
      ids[(head + count) & (ids.length - 1)] = id;
      count++;
    },
    pop: () => void count--,
    shift() {
      head = (head + 1) & (ids.length - 1);
      count--;
      firstSequence++;
      if (ids.length > CAPACITY_MIN && count <= ids.length / 8) resize(ids.length / 4);
    },
    unshift(id) {
      if (count === ids.length) resize(ids.length * 2);
      head = (head - 1) & (ids.length - 1);
      ids[head] = id;
      count++;
      firstSequence--;
    },
  };
}
