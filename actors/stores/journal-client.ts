/**
 * A thread's end of the conversation with the journal: it numbers requests, waits for answers, and
 * hands deliveries to the subscription they are for.
 *
 * Requests in flight are bounded; beyond the bound, or when the ring and its backlog are full, a
 * request is refused with `SATURATED` and nothing was sent. When the journal is gone, everything
 * that was waiting fails: commits as `INDETERMINATE`, since they may have been made.
 */

import type { MeshNode } from "../../runtime/threads/mesh.ts";
import type { DeliveryRecord, WireBooks } from "./journal-protocol.ts";
import type { CommitResult } from "./unit-of-work.ts";

import { isShopError, ShopError } from "../../runtime/errors.ts";
import {
  decodeBody,
  decodeDelivery,
  decodeFailure,
  DELIVERY,
  encodeRequest,
  FAILURE,
  requestNumber,
  RESULT,
  REVOKED,
  STANDINGS,
} from "./journal-protocol.ts";
import { RequestTable } from "./request-table.ts";

/** Requests of one thread that the journal has not answered yet. */
const REQUESTS_MAX = 16_384;

/** The answer to nearly every commit, which is known by its bytes. */
const COMMITTED: CommitResult = { kind: "committed" };
const COMMITTED_RECORD = encodeRequest(0, COMMITTED);
/** Of the request number, before the body. */
const NUMBER_BYTES = 4;

export interface RevokedRecord {
  readonly subscription: number;
  readonly topic: string;
  readonly partitions: readonly number[];
}

export interface JournalListener {
  deliveries(records: readonly DeliveryRecord[]): void;
  revoked(record: RevokedRecord): void;
  /** Part of the answer to a request for the standing; in its place among the deliveries. */
  standings(books: WireBooks): void;
  failed(error: ShopError): void;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: ShopError): void;
}

export class JournalClient {
  readonly #node: Pick<MeshNode, "send">;
  readonly #journal: number;
  readonly #waiting = new RequestTable<Waiting>(REQUESTS_MAX);
  readonly #listeners = new Map<number, JournalListener>();
  #gathered: DeliveryRecord[] = [];
  #subscriptions = 0;
  #failure: ShopError | undefined;

  /** `journal`: index of the journal's thread in the mesh of `node`. */
  constructor(node: Pick<MeshNode, "send">, journal: number) {
    this.#node = node;
    this.#journal = journal;
  }

  /** Requests without an answer. */
  get inFlight(): number {
    return this.#waiting.size;
  }

  /** Sends `body` and resolves with the answer. */
  request<Answer>(kind: number, body: unknown): Promise<Answer> {
    return new Promise<Answer>((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      // The journal answers each request with what its kind promises.
      const waiting = { resolve: resolve as (value: unknown) => void, reject };
      const request = this.#waiting.add(waiting);
      if (request === undefined) {
        reject(saturated());
        return;
      }
      const refusal = this.#refusalOf(kind, request, body);
      if (refusal === undefined) return;
      this.#waiting.take(request);
      reject(refusal);
    });
  }

  /** Why the request could not be sent; `undefined` when it was. */
  #refusalOf(kind: number, request: number, body: unknown): ShopError | undefined {
    try {
      const isSent = this.#node.send(this.#journal, kind, encodeRequest(request, body));
      return isSent ? undefined : saturated();
    } catch (error) {
      // A record that no ring can hold.
      if (isShopError(error)) return error;
      throw error;
    }
  }

  /** A number for a new subscription, and where its deliveries go. */
  listen(listener: JournalListener): number {
    this.#subscriptions++;
    this.#listeners.set(this.#subscriptions, listener);
    return this.#subscriptions;
  }

  unlisten(subscription: number): void {
    this.#listeners.delete(subscription);
  }

  /** To be called with every record from the journal's ring. */
  onRecord(kind: number, bytes: Uint8Array): void {
    if (kind === DELIVERY) {
      this.#gathered.push(decodeDelivery(bytes));
      return;
    }
    if (kind === REVOKED) {
      this.onTurn();
      const record = decodeBody<RevokedRecord>(bytes);
      this.#listeners.get(record.subscription)?.revoked(record);
      return;
    }
    const request = requestNumber(bytes);
    if (kind === STANDINGS && this.#passOn(decodeBody<WireBooks>(bytes))) return;
    const waiting = this.#waiting.take(request);
    if (waiting === undefined) return;
    if (kind === RESULT) waiting.resolve(isCommitted(bytes) ? COMMITTED : decodeBody(bytes));
    if (kind === STANDINGS) waiting.resolve(undefined);
    if (kind === FAILURE) waiting.reject(decodeFailure(bytes));
  }

  /** True when more of the answer is to come. */
  #passOn(books: WireBooks): boolean {
    this.onTurn();
    this.#listeners.get(books.subscription)?.standings(books);
    return !books.isLast;
  }

  /** To be called at the end of each turn: hands on the deliveries that it brought. */
  onTurn(): void {
    if (this.#gathered.length === 0) return;
    const gathered = Map.groupBy(this.#gathered, ({ subscription }) => subscription);
    this.#gathered = [];
    for (const [subscription, records] of gathered) {
      this.#listeners.get(subscription)?.deliveries(records);
    }
  }

  /** The journal is gone: everything that waits for it fails, and so does all that follows. */
  fail(reason: string): void {
    if (this.#failure !== undefined) return;
    this.#failure = new ShopError("CLOSED", reason, "later");
    const indeterminate = new ShopError("INDETERMINATE", reason, "later");
    for (const waiting of this.#waiting.takeAll()) waiting.reject(indeterminate);
    for (const listener of this.#listeners.values()) listener.failed(this.#failure);
    this.#listeners.clear();
  }
}

function saturated(): ShopError {
  return new ShopError("SATURATED", "too much is waiting for the journal", "later");
}

function isCommitted(bytes: Uint8Array): boolean {
  if (bytes.length !== COMMITTED_RECORD.length) return false;
  for (let at = NUMBER_BYTES; at < bytes.length; at++) {
    if (bytes[at] !== COMMITTED_RECORD[at]) return false;
  }
  return true;
}
