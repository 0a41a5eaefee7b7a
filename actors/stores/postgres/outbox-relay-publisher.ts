/**
 * Hands batches of the outbox to one broker, and counts what comes of them.
 *
 * Several may be under way at once. Where the broker will never take one of a batch they go one by
 * one, and what it refuses is handed to `onRefused`. It tries nothing again and knows no order:
 * both are the line's.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { Broker, Outgoing } from "../../brokers/broker.ts";
import type { OutboxFrame } from "./outbox-relay-table.ts";

import { isShopError, ShopError } from "../../../runtime/errors.ts";

export interface RelayPublisherOptions {
  /** The broker's name, for people. */
  readonly name: string;
  readonly broker: Pick<Broker, "publish">;
  readonly environment: Environment;
  readonly settings: { readonly publishTimeoutMs: number };
  /** Keeps a frame that the broker will never take; it leaves the outbox once this resolves. */
  readonly onRefused: (frame: OutboxFrame, error: ShopError) => Promise<void>;
}

/** So many of a batch's frames are out, after those that were before. */
type OnOut = (count: number) => void;

export class RelayPublisher {
  readonly #options: RelayPublisherOptions;
  /** Each ends the wait for a publication under way. */
  readonly #waits = new Set<() => void>();
  #isAbandoned = false;
  #published = 0;
  #failed = 0;
  #refused = 0;

  constructor(options: RelayPublisherOptions) {
    this.#options = options;
  }

  /** Frames confirmed, frames of publications that failed, frames that were refused for good. */
  get counts(): { readonly published: number; readonly failed: number; readonly refused: number } {
    return { published: this.#published, failed: this.#failed, refused: this.#refused };
  }

  /**
   * True: the broker took the batch as it was. False: some of it was refused for good. Rejects with
   * what the broker failed with; `onOut` was told what had left by then.
   */
  async publish(batch: readonly OutboxFrame[], onOut: OnOut): Promise<boolean> {
    try {
      await this.#publish(batch, onOut);
      return true;
    } catch (error) {
      if (!isFrameFault(error)) throw error;
      await this.#oneByOne(batch, onOut);
      return false;
    }
  }

  /** Nothing that is under way is waited for any more, and nothing is begun. */
  abandon(): void {
    this.#isAbandoned = true;
    for (const end of this.#waits) end();
  }

  /**
   * The broker is well and will never take one of them; which is not known. Where one found nobody
   * to read it, those behind it in its topic and slot would find nobody either.
   */
  async #oneByOne(batch: readonly OutboxFrame[], onOut: OnOut): Promise<void> {
    const unread = new Map<string, ShopError>();
    for (const frame of batch) {
      this.#checkOpen();
      const place = `${frame.slot} ${frame.topic}`;
      const refusal = unread.get(place) ?? (await this.#refusalOf(frame, onOut));
      if (refusal === undefined) continue;
      if (refusal.code === "UNKNOWN_TOPIC") unread.set(place, refusal);
      await this.#options.onRefused(frame, refusal);
      this.#refused++;
      onOut(1);
    }
  }

  async #refusalOf(frame: OutboxFrame, onOut: OnOut): Promise<ShopError | undefined> {
    try {
      await this.#publish([frame], onOut);
      return undefined;
    } catch (error) {
      if (!isFrameFault(error)) throw error;
      return error;
    }
  }

  async #publish(batch: readonly OutboxFrame[], onOut: OnOut): Promise<void> {
    try {
      await this.#inTime(batch.map(({ topic, frame }) => ({ topic, frame })));
    } catch (error) {
      this.#failed += batch.length;
      throw error;
    }
    this.#published += batch.length;
    onOut(batch.length);
  }

  /** A connection that is dead without having been closed answers nothing. */
  async #inTime(frames: readonly Outgoing[]): Promise<void> {
    const { broker, environment, name, settings } = this.#options;
    const { promise: late, reject } = Promise.withResolvers<never>();
    const fail = (what: string): void => {
      reject(new ShopError("INDETERMINATE", `${name}${what}`, "later"));
    };
    this.#checkOpen();
    const end = (): void => fail(": closed");
    this.#waits.add(end);
    const timer = environment.startTimer(settings.publishTimeoutMs, () => {
      fail(` confirmed nothing within ${settings.publishTimeoutMs} ms`);
    });
    try {
      await Promise.race([broker.publish(frames), late]);
    } finally {
      timer.cancel();
      this.#waits.delete(end);
    }
  }

  #checkOpen(): void {
    if (!this.#isAbandoned) return;
    throw new ShopError("CLOSED", `${this.#options.name}: closed`, "later");
  }
}

/** True when the broker is well and will never take one of the frames. */
function isFrameFault(error: unknown): error is ShopError {
  return isShopError(error, "BAD_FRAME", "PAYLOAD_TOO_LARGE", "UNKNOWN_TOPIC");
}
