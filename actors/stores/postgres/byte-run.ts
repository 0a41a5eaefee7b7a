/**
 * Many byte strings as one text, with where each begins and how long it is.
 *
 * The server reads an array of byte strings letter by letter, at several times the cost of all else
 * that it does with them; one long text in base64 it decodes at once, and cuts it by the numbers.
 * Refuses nothing: how much goes into a run is the business of whoever fills it.
 */

import { plainArray } from "./array-literals.ts";

/** Numbers of the parameters that hold one array of a run. */
export interface ByteArrayPlaces {
  readonly starts: number;
  readonly lengths: number;
}

/** The run at parameter `place`, to stand in a FROM clause under the name `run`. */
export function runSource(place: number): string {
  // OFFSET 0 keeps it in one place, so that it is decoded once.
  return `(SELECT decode($${place}::text, 'base64') AS bytes OFFSET 0) AS run`;
}

/** One array of the run that stands in the FROM clause, as bytea[]. */
export function runArray({ starts, lengths }: ByteArrayPlaces): string {
  const cuts = `unnest($${starts}::integer[], $${lengths}::integer[]) AS u (s, l)`;
  return `ARRAY(SELECT substring(run.bytes FROM u.s FOR u.l) FROM ${cuts})`;
}

export class ByteRun {
  readonly #parts: Uint8Array[] = [];
  /** Where the next part begins; the server counts from 1. */
  #start = 1;

  /** Starts and lengths of `values`, as parameters. */
  add(values: readonly Uint8Array[]): readonly [starts: string, lengths: string] {
    const starts: number[] = [];
    const lengths: number[] = [];
    for (const bytes of values) {
      this.#parts.push(bytes);
      starts.push(this.#start);
      lengths.push(bytes.length);
      this.#start += bytes.length;
    }
    return [plainArray(starts), plainArray(lengths)];
  }

  /** What was added, as the parameter of `runSource`. */
  toText(): string {
    return Buffer.concat(this.#parts).toString("base64");
  }
}
