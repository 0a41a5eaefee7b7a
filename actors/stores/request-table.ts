/**
 * Numbers for requests under way, each handed out again once its answer was taken.
 *
 * A number is a place in an array and how often that place was used, so that an answer that comes
 * twice finds nothing. A `Map` would do, but it replaces its tables as it churns, and those that a
 * collection of garbage has promoted keep alive all that follows. Refuses more than `requestsMax`.
 */

import { assert } from "../../runtime/errors.ts";

const PLACE_BITS = 16;
const PLACES_MAX = 1 << PLACE_BITS;
const PLACE_MASK = PLACES_MAX - 1;

interface Place<Waiting> {
  waiting: Waiting | undefined;
  /** Of the request that is here, or comes here next. */
  number: number;
}

export class RequestTable<Waiting extends object> {
  readonly #requestsMax: number;
  readonly #places: Place<Waiting>[] = [];
  readonly #free: Place<Waiting>[] = [];

  constructor(requestsMax: number) {
    assert(requestsMax <= PLACES_MAX, `at most ${PLACES_MAX} requests have a number`);
    this.#requestsMax = requestsMax;
  }

  /** Requests whose answer was not taken. */
  get size(): number {
    return this.#places.length - this.#free.length;
  }

  /** An unsigned number of 32 bits; `undefined` when there is no room. */
  add(waiting: Waiting): number | undefined {
    const place = this.#free.pop() ?? this.#newPlace();
    if (place === undefined) return undefined;
    place.waiting = waiting;
    return place.number;
  }

  /** Who waits for the answer to `request`, and waits no longer. */
  take(request: number): Waiting | undefined {
    const place = this.#places[request & PLACE_MASK];
    if (place === undefined || place.number !== request) return undefined;
    const { waiting } = place;
    if (waiting === undefined) return undefined;
    place.waiting = undefined;
    place.number = (request + PLACES_MAX) >>> 0;
    this.#free.push(place);
    return waiting;
  }

  /** Everyone who waits. */
  takeAll(): readonly Waiting[] {
    return this.#places.flatMap(({ number }) => this.take(number) ?? []);
  }

  #newPlace(): Place<Waiting> | undefined {
    if (this.#places.length >= this.#requestsMax) return undefined;
    const place = { waiting: undefined, number: this.#places.length };
    this.#places.push(place);
    return place;
  }
}
