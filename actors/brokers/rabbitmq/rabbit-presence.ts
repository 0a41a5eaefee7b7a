/**
 * Members of a group tell each other that they are there, what they consume, and when they go.
 *
 * Each has a queue that ends with its connection, on an exchange of the group, and hears itself
 * there too: what comes back others have heard, and what they said before it is in. A member that
 * has not been heard for a while is looked for: when its queue is gone, so is it. One that does not
 * hear itself for as long hears nobody, and needs a new connection. It refuses to let a member join
 * that others cannot hear, unless the server is full; to count anybody out while the server takes
 * no messages; and to say that it knows all before those who live and join by these rules must have
 * been heard.
 */

import type { Channel, ChannelModel, ConsumeMessage } from "amqplib";

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { Beat } from "./membership.ts";
import type { RabbitLink } from "./rabbit-link.ts";
import type { RabbitNames } from "./rabbit-names.ts";
import type { RabbitPublisher } from "./rabbit-publisher.ts";

import { Membership, parseBeat } from "./membership.ts";

const BEAT_MS = 1_000;
/** Changes of one moment are told together. */
const GATHER_MS = 50;
/**
 * Without a beat for so long, a member's queue is looked for. Who has listened for longer and heard
 * nothing takes it that there is nobody: beats take longer than usual on a busy machine.
 */
const DOUBT_MS = 2_500;

export interface RabbitPresenceOptions {
  readonly environment: Environment;
  readonly publisher: Pick<RabbitPublisher, "ask" | "isBlocked" | "isUp" | "onUnroutable" | "say">;
  readonly names: RabbitNames;
  readonly group: string;
  readonly id: string;
  readonly memberTimeoutMs: number;
  /** It listens so long for others, once they hear it, before it joins. */
  readonly joinWindowMs: number;
  /** What this member has to say now; its `kind` and time are replaced. */
  readonly beat: () => Beat;
  /** Somebody came, went or changed. */
  readonly onChange: (heard: Beat | undefined) => void;
}

export class RabbitPresence {
  readonly membership = new Membership();
  readonly #options: RabbitPresenceOptions;
  readonly #exchange: string;
  readonly #unlisten: () => void;
  #beatTimer: Timer | undefined;
  #telling: Timer | undefined;
  /** Until it has joined, while it has a queue. */
  #onJoined: (() => void) | undefined;
  #joining: Timer | undefined;
  /** Once it hears nobody any more, itself neither. */
  #onDeaf: (() => void) | undefined;
  /** Beats in a row of which none has come back. */
  #unheardBeats = 0;
  #knowsAll = false;
  #isClosed = false;

  constructor(options: RabbitPresenceOptions) {
    this.#options = options;
    const { group, names, publisher } = options;
    this.#exchange = names.membersExchange(group);
    this.#unlisten = publisher.onUnroutable((queue) => {
      for (const { id } of this.membership.others) {
        if (names.memberQueue(group, id) === queue) this.#drop(id);
      }
    });
  }

  /**
   * Every member that lives has been heard, save one that joined and fell silent since: what none
   * of those has, nobody has.
   */
  get knowsAll(): boolean {
    return this.#knowsAll;
  }

  /**
   * On a new connection nobody is known. Calls `onJoined` when others hear this member and have had
   * time to answer: before that it must not consume, for they would take it for absent.
   */
  async attach(
    model: ChannelModel,
    link: Pick<RabbitLink, "channel">,
    onLost: () => void,
    onJoined: () => void,
  ): Promise<void> {
    const { environment, group, id, names } = this.#options;
    this.detach();
    this.membership.clear();
    const channel: Channel = await link.channel(model, onLost);
    const { queue } = await channel.assertQueue(names.memberQueue(group, id), {
      exclusive: true,
      autoDelete: true,
      durable: false,
    });
    await channel.bindQueue(queue, this.#exchange, "");
    const take = (content: Buffer): void => this.#hear(parseBeat(content.toString()));
    const onMessage = (message: ConsumeMessage | null): void => {
      if (message === null) onLost();
      else take(message.content);
    };
    await channel.consume(queue, onMessage, { noAck: true });
    this.#knowsAll = false;
    this.#unheardBeats = 0;
    this.#onDeaf = onLost;
    this.membership.excuse(environment.monotonicMs());
    this.#onJoined = onJoined;
    this.#say("hello");
    this.#beatTimer?.cancel();
    this.#keepBeating();
  }

  /** Its connection is gone: it does not join on it any more. */
  detach(): void {
    this.#onDeaf = undefined;
    this.#onJoined = undefined;
    this.#joining?.cancel();
    this.#joining = undefined;
  }

  /** Something of this member has changed. */
  tell(): void {
    if (this.#telling !== undefined || this.#isClosed) return;
    this.#telling = this.#options.environment.startTimer(GATHER_MS, () => {
      this.#telling = undefined;
      this.#say("beat");
    });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#say("bye");
    this.#isClosed = true;
    this.detach();
    this.#beatTimer?.cancel();
    this.#telling?.cancel();
    this.#unlisten();
  }

  #keepBeating(): void {
    const { environment, publisher } = this.#options;
    this.#beatTimer = environment.startTimer(BEAT_MS, () => {
      if (this.#isClosed) return;
      const isUnheard = this.#onJoined !== undefined && this.#joining === undefined;
      this.#say(isUnheard ? "hello" : "beat");
      if (publisher.isBlocked || !publisher.isUp) {
        this.membership.excuse(environment.monotonicMs());
        this.#knowsAll = false;
        this.#unheardBeats = 0;
      } else this.#countUnheard();
      // A full server takes nothing of anybody, and who consumes may be what relieves it.
      if (publisher.isBlocked && publisher.isUp) this.#join();
      this.#keepBeating();
    });
  }

  /** Beats and not time: after a stall of this process what came back is still to be read. */
  #countUnheard(): void {
    this.#unheardBeats++;
    if (this.#unheardBeats * BEAT_MS <= this.#options.memberTimeoutMs) return;
    const onDeaf = this.#onDeaf;
    this.#onDeaf = undefined;
    onDeaf?.();
  }

  #join(): void {
    const onJoined = this.#onJoined;
    if (onJoined === undefined || this.#joining !== undefined) return;
    const { environment, joinWindowMs } = this.#options;
    this.#joining = environment.startTimer(joinWindowMs, () => {
      this.#onJoined = undefined;
      this.#joining = undefined;
      onJoined();
    });
  }

  /** What this member has said came back. */
  #hearSelf({ kind, saidAtMs }: Beat): void {
    this.#unheardBeats = 0;
    if (kind === "hello") this.#join();
    if (saidAtMs !== undefined) this.#lookForSilent(saidAtMs);
  }

  /** `heardMs`: all that was said until then has been heard. */
  #lookForSilent(heardMs: number): void {
    const { group, memberTimeoutMs, names, publisher } = this.#options;
    const knewAll = this.#knowsAll;
    this.#knowsAll = this.membership.hasListened(heardMs, DOUBT_MS);
    if (this.#knowsAll && !knewAll) this.#options.onChange(undefined);
    for (const id of this.membership.silent(heardMs, DOUBT_MS)) {
      publisher.ask(names.memberQueue(group, id));
    }
    for (const id of this.membership.silent(heardMs, memberTimeoutMs)) this.#drop(id);
  }

  #drop(id: string): void {
    if (!this.#isClosed && this.membership.drop(id)) this.#options.onChange(undefined);
  }

  #hear(beat: Beat | undefined): void {
    if (beat === undefined || this.#isClosed) return;
    if (beat.id === this.#options.id) {
      this.#hearSelf(beat);
      return;
    }
    const heard = this.membership.hear(beat, this.#options.environment.monotonicMs());
    // Whoever is new, or has not heard of us, is told at once.
    if (heard === "new" || beat.kind === "hello") this.tell();
    if (heard !== "same") this.#options.onChange(beat);
  }

  #say(kind: Beat["kind"]): void {
    if (this.#isClosed) return;
    const { beat, environment, publisher } = this.#options;
    const saidAtMs = environment.monotonicMs();
    publisher.say(this.#exchange, JSON.stringify({ ...beat(), kind, saidAtMs }));
  }
}
