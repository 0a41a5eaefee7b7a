/**
 * What a node remembers of a reader between fetches (KIP-227), so that only changes are told.
 *
 * The first request names every partition and makes the session; later ones name those that are to
 * be read from elsewhere, those that are new, and those that are not wanted any more, and answers
 * name those with something to say. Whatever goes wrong begins a new one in place of the old, for a
 * node keeps only so many. Pure.
 */

const NO_ID = 0;
const FIRST_EPOCH = 0;
/** Ends the session, or asks for none. */
const LAST_EPOCH = -1;
const EPOCH_MAX = 0x7fff_ffff;

export interface FetchPlace {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

export interface FetchAsk {
  readonly sessionId: number;
  readonly epoch: number;
  /** To be read from here on from now on. */
  readonly places: readonly FetchPlace[];
  readonly forgotten: ReadonlyMap<string, readonly number[]>;
}

/** For one question and no more. */
export const NO_SESSION: Pick<FetchAsk, "epoch" | "forgotten" | "sessionId"> = {
  sessionId: NO_ID,
  epoch: LAST_EPOCH,
  forgotten: new Map(),
};

interface Told {
  offset: number;
  /** The last request that wanted it. */
  ask: number;
}

export class FetchSession {
  #id = NO_ID;
  #epoch = FIRST_EPOCH;
  /** What the node was told, by topic and partition. */
  readonly #told = new Map<string, Map<number, Told>>();
  #asks = 0;

  /** What to ask for, to get records of just these places. Answered or given up before the next. */
  ask(wanted: readonly FetchPlace[]): FetchAsk {
    this.#asks++;
    const places = wanted.filter((place) => this.#isNews(place));
    const forgotten = this.#forgotten();
    return { sessionId: this.#id, epoch: this.#epoch, places, forgotten };
  }

  #isNews({ topic, partition, offset }: FetchPlace): boolean {
    let ofTopic = this.#told.get(topic);
    if (ofTopic === undefined) this.#told.set(topic, (ofTopic = new Map<number, Told>()));
    const told = ofTopic.get(partition);
    if (told === undefined) {
      ofTopic.set(partition, { offset, ask: this.#asks });
      return true;
    }
    const isNews = told.offset !== offset;
    told.offset = offset;
    told.ask = this.#asks;
    return isNews;
  }

  /** What was wanted before and is not by this request. */
  #forgotten(): ReadonlyMap<string, readonly number[]> {
    const forgotten = new Map<string, readonly number[]>();
    for (const [topic, ofTopic] of this.#told) {
      const gone: number[] = [];
      for (const [partition, { ask }] of ofTopic) if (ask !== this.#asks) gone.push(partition);
      if (gone.length === 0) continue;
      forgotten.set(topic, gone);
      for (const partition of gone) ofTopic.delete(partition);
      if (ofTopic.size === 0) this.#told.delete(topic);
    }
    return forgotten;
  }

  /** `sessionId` 0: the node keeps none for us. */
  answered(sessionId: number): void {
    if (sessionId === NO_ID) this.lost();
    else if (sessionId !== this.#id) {
      this.#id = sessionId;
      this.#epoch = 1;
    } else this.#epoch = this.#epoch === EPOCH_MAX ? 1 : this.#epoch + 1;
  }

  /** The next request begins a new one, and ends this if the node still has it. */
  forget(): void {
    this.#epoch = FIRST_EPOCH;
    this.#told.clear();
  }

  /** The node does not have it. */
  lost(): void {
    this.#id = NO_ID;
    this.forget();
  }

  /** What to ask for, to end it; undefined: there is none. */
  ending(): FetchAsk | undefined {
    if (this.#id === NO_ID) return undefined;
    return { sessionId: this.#id, epoch: LAST_EPOCH, places: [], forgotten: new Map() };
  }
}
