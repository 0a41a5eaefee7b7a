/**
 * One connection to the server that comes back by itself, for ever.
 *
 * The client library's own recovery does the work: exponential back-off with jitter, and `setup`
 * before anybody may use the connection. What this adds: a connection that falls silent in its
 * setup ends, losses are told once each, and no error of the library is without a listener. It
 * refuses to come back after `close`.
 */

import type {
  Channel,
  ChannelModel,
  ConfirmChannel,
  Options,
  RecoveringChannelModel,
} from "amqplib";

import { connect, IllegalOperationError } from "amqplib";

import type { Environment } from "../../../runtime/environment.ts";
import type { RabbitSettings } from "./rabbit-settings.ts";

import { assert, describeError, ShopError } from "../../../runtime/errors.ts";
import { isPassing } from "./rabbit-faults.ts";
import {
  ANSWER_TIMEOUT_MS,
  DECLARE_TIMEOUT_MS,
  OPEN_TIMEOUT_MS,
  RETURN_TIMEOUT_MS,
} from "./rabbit-settings.ts";

const RECONNECT_MIN_MS = 100;
const JITTER = 0.2;
/** Between two attempts at a server whose queues are not there yet. */
const AGAIN_MS = 100;
/**
 * Writes to one channel in the library's own buffer before it says that it is full: it counts them,
 * not their bytes, and a piece of many messages is one. What bounds the bytes is the window of a
 * lane, and for acknowledgements the prefetch.
 */
const CHANNEL_BUFFER_WRITES = 256 * 1_024;

export type LogLevel = "info" | "warn" | "error";

export interface RabbitLinkOptions {
  readonly environment: Environment;
  readonly settings: RabbitSettings;
  /** What the server's own tools call the connection. */
  readonly name: string;
  /** Everything that has to stand before the connection counts as up. Rejects: tried again. */
  readonly setup: (model: ChannelModel) => Promise<void>;
  /** The connection of the last `setup` is gone, with all its channels. */
  readonly onDown: (error: unknown) => void;
  /** The server takes nothing that is published, or takes it again. */
  readonly onBlocked?: (isBlocked: boolean) => void;
  /** An attempt to come back has failed. */
  readonly onAttempt?: (error: unknown) => void;
  readonly onLog: (level: LogLevel, text: string) => void;
}

export class RabbitLink {
  readonly #options: RabbitLinkOptions;
  #recovering: RecoveringChannelModel | undefined;
  #model: ChannelModel | undefined;
  #isClosed = false;

  constructor(options: RabbitLinkOptions) {
    this.#options = options;
  }

  get isUp(): boolean {
    return this.#model !== undefined && !this.#isClosed;
  }

  /**
   * Rejects with the library's error when the first connection or its setup fails; a server that
   * has just come back is given time to find its queues.
   */
  async open(): Promise<void> {
    const { environment } = this.#options;
    const untilMs = environment.monotonicMs() + RETURN_TIMEOUT_MS;
    for (;;) {
      try {
        await this.#open();
        return;
      } catch (error) {
        this.#model = undefined;
        const isLate = environment.monotonicMs() >= untilMs;
        if (isLate || this.#isClosed || !isPassing(error)) throw error;
        await new Promise<void>((resolve) => void environment.startTimer(AGAIN_MS, resolve));
      }
    }
  }

  async #open(): Promise<void> {
    const { settings, name, onLog } = this.#options;
    const recovering = await connect(withHeartbeat(settings), {
      noDelay: true,
      timeout: OPEN_TIMEOUT_MS,
      clientProperties: { connection_name: name },
      recovery: {
        initialDelay: RECONNECT_MIN_MS,
        maxDelay: settings.reconnectMaxMs,
        factor: 2,
        jitter: JITTER,
        initialMaxRetries: 0,
        setup: (model: ChannelModel) => this.#setUp(model),
      },
    });
    this.#recovering = recovering;
    // Without a listener the library throws them; the loss itself is told by `disconnect`.
    recovering.on("error", (error) => onLog("info", `${name}: ${describeError(error)}`));
    recovering.on("disconnect", (error) => this.#lose(error));
    recovering.on("connect-failed", (error) => {
      this.#model = undefined;
      this.#options.onAttempt?.(error);
    });
    recovering.on("reconnect-failed", (error) =>
      onLog("error", `${name}: ${describeError(error)}`),
    );
    recovering.on("handler-error", (error: unknown, event: unknown) => {
      onLog("error", `${name}: listener of ${String(event)}: ${describeError(error)}`);
    });
  }

  /** A channel of the connection that is up; `onLost` at most once, unless it was closed by us. */
  async channel(model: ChannelModel, onLost: (error: unknown) => void): Promise<Channel> {
    return watched(await model.createChannel({ highWaterMark: CHANNEL_BUFFER_WRITES }), onLost);
  }

  async confirmChannel(
    model: ChannelModel,
    onLost: (error: unknown) => void,
  ): Promise<ConfirmChannel> {
    const options = { highWaterMark: CHANNEL_BUFFER_WRITES };
    return watched(await model.createConfirmChannel(options), onLost);
  }

  /** The connection that is up. */
  get model(): ChannelModel {
    assert(this.#model !== undefined, "there is no connection");
    return this.#model;
  }

  /** Ends the connection so that it is made anew: something of it cannot be mended. */
  async renew(): Promise<void> {
    const model = this.#model;
    if (model === undefined || this.#isClosed) return;
    await model.close().catch(() => undefined); // it may be gone already, which is the aim
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const closing = this.#recovering?.close() ?? Promise.resolve();
    await within(this.#options.environment, closing, OPEN_TIMEOUT_MS, "closing").catch(
      () => undefined, // a server that does not answer has lost the connection either way
    );
  }

  async #setUp(model: ChannelModel): Promise<void> {
    const { environment, name, onBlocked, onLog, setup } = this.#options;
    model.on("error", (error) => onLog("info", `${name}: ${describeError(error)}`));
    model.on("blocked", () => onBlocked?.(true));
    model.on("unblocked", () => onBlocked?.(false));
    this.#model = model;
    onBlocked?.(false);
    await within(environment, setup(model), DECLARE_TIMEOUT_MS, "setting up the connection");
  }

  #lose(error: unknown): void {
    if (this.#model === undefined) return;
    this.#model = undefined;
    this.#options.onDown(error);
  }
}

/** Rejects with `SERVER_UNUSABLE` when `promise` has not settled by then. */
export async function within<Value>(
  environment: Environment,
  promise: Promise<Value>,
  limitMs: number,
  what: string,
): Promise<Value> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = environment.startTimer(limitMs, () => {
    const text = `rabbitmq: no answer within ${limitMs} ms: ${what}`;
    reject(new ShopError("SERVER_UNUSABLE", text, "later"));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.cancel();
  }
}

/**
 * Does not reject: what cannot be closed is gone with its connection. The library's own promise
 * never settles when the connection goes before the answer, so it is not waited for for ever.
 */
export async function closeChannel(
  environment: Environment,
  channel: Pick<Channel, "close">,
  what: string,
): Promise<void> {
  const closing = Promise.try(() => channel.close());
  await within(environment, closing, ANSWER_TIMEOUT_MS, what).catch(() => undefined);
}

/** Without a confirmation; dropped while the library closes the channel by itself. */
export function tell(
  channel: Pick<Channel, "publish">,
  exchange: string,
  routingKey: string,
  content: Buffer,
  options?: Options.Publish,
): void {
  try {
    channel.publish(exchange, routingKey, content, options);
  } catch (error) {
    if (!(error instanceof IllegalOperationError)) throw error;
  }
}

function watched<Some extends Channel>(channel: Some, onLost: (error: unknown) => void): Some {
  let failure: unknown = new ShopError("CLOSED", "the channel was closed", "later");
  channel.on("error", (error) => void (failure = error));
  channel.on("close", () => onLost(failure));
  return channel;
}

function withHeartbeat({ url, heartbeatMs }: RabbitSettings): string {
  const address = new URL(url);
  if (address.searchParams.has("heartbeat")) return url;
  address.searchParams.set("heartbeat", String(Math.max(1, Math.round(heartbeatMs / 1_000))));
  return address.href;
}
