/**
 * Rows of the outbox that no lane reads, because their topic is in nobody's settings any more.
 *
 * A timer that was started for a topic fires after its link was taken out, or a dead shard knew of
 * topics that this one does not. Such rows stay where they are: they may be acknowledged orders.
 * They are counted and told, and go out once a relay with their topic takes the place of this one.
 * Counting reads the whole outbox, so it is done at the first look, when there is reason to, and
 * else seldom; while there are some, every few looks, however many come.
 */

import type { RelayLaneState } from "./outbox-relay-lane.ts";
import type { OutboxTable, TopicCount } from "./outbox-relay-table.ts";

import { NO_BROKER } from "../../contracts/topics.ts";

/** Looks from one count to the next: while there are none, and while there are some. */
const LOOKS_WITHOUT = 15;
const LOOKS_WITH = 5;

export interface StrayWatchOptions {
  readonly table: Pick<OutboxTable, "countOthers">;
  readonly relayId: string;
  /** Of all lanes. */
  readonly topics: readonly string[];
  readonly onLog?: ((level: "warning" | "info", text: string) => void) | undefined;
}

export class StrayWatch {
  readonly #options: StrayWatchOptions;
  #relays: readonly string[];
  #isDue = true;
  #looks = 0;
  #frames = 0;
  #topics = "";

  constructor(options: StrayWatchOptions) {
    this.#options = options;
    this.#relays = [options.relayId];
  }

  /** There may be some now. While there are some, they are counted anyway. */
  suspect(): void {
    if (this.#frames === 0) this.#isDue = true;
  }

  setAdopted(relayIds: readonly string[]): void {
    this.#relays = [this.#options.relayId, ...relayIds];
    this.#isDue = true;
  }

  /** To be called every few seconds. */
  async look(): Promise<void> {
    this.#looks++;
    const every = this.#frames === 0 ? LOOKS_WITHOUT : LOOKS_WITH;
    if (!this.#isDue && this.#looks % every !== 0) return;
    const { onLog } = this.#options;
    const counts = await this.#count();
    const before = this.#topics;
    this.#frames = counts.reduce((sum, { frames }) => sum + frames, 0);
    this.#topics = counts.map(({ topic }) => topic).join(", ");
    if (this.#topics === before) return;
    if (this.#frames === 0) onLog?.("info", "outbox: every frame is of a topic in the settings");
    else onLog?.("warning", this.#detail());
  }

  /** As a broker that takes nothing while there are some; none before they were counted. */
  states(): readonly RelayLaneState[] {
    if (this.#looks === 0) return [];
    const isUp = this.#frames === 0;
    const none = { published: 0, failed: 0, refused: 0, readsBack: false };
    const detail = isUp ? "" : this.#detail();
    return [{ name: NO_BROKER, depth: this.#frames, isUp, detail, ...none }];
  }

  async #count(): Promise<readonly TopicCount[]> {
    const { table, topics } = this.#options;
    this.#isDue = false;
    try {
      return await table.countOthers({ relays: this.#relays, topics });
    } catch (error) {
      this.#isDue = true;
      throw error;
    }
  }

  #detail(): string {
    const what = `${this.#frames} frames wait for topics that no setting names`;
    return `outbox: ${what}: ${this.#topics}; they stay in the database until one does`;
  }
}
