/**
 * The connection to Elasticsearch or OpenSearch: checked when it is opened, watched while it is
 * used, ended for good.
 *
 * One client serves both products. Every call ends within its time, whatever the server does.
 * While nothing answers, somebody looks for the server at growing intervals, for ever. Refuses,
 * within the time of the settings, an address at which no usable server answers.
 */

import { Client } from "@opensearch-project/opensearch";
import { readFileSync } from "node:fs";

import type { ClientOptions } from "@opensearch-project/opensearch";
import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { ConnectionState } from "../../brokers/broker.ts";
import type { FaultBody } from "./elastic-failure.ts";
import type { ElasticSettings } from "./elastic-settings.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { answerFailure, callFailure, hostsOf, reasonOf, unreached } from "./elastic-failure.ts";
import { refusal, unusable } from "./elastic-failure.ts";
import { serverOf } from "./server-version.ts";

import type { SearchServer } from "./server-version.ts";

/** Of one call that makes templates or indices: a start is refused within ten seconds. */
const PREPARE_MS_MAX = 10_000;
const LOOK_MS_MIN = 100;
const LOOK_MS_MAX = 5_000;

export interface ElasticHooks {
  readonly onConnection?: (state: ConnectionState) => void;
  readonly onLog?: (level: "info" | "warn", text: string) => void;
}

export type ElasticTimers = Pick<Environment, "startTimer" | "random">;

export interface ElasticCall {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean>>;
  readonly body?: object;
  /** Lines of JSON, instead of a body. */
  readonly lines?: string;
  /** Statuses that are an answer too. */
  readonly allowed?: readonly number[];
}

export interface ElasticAnswer<Body> {
  readonly status: number;
  readonly body: Body;
}

/** Rejects with `SERVER_UNUSABLE`, naming `elasticsearch.url` or `elasticsearch.caPath`. */
export async function openElasticLink(
  settings: ElasticSettings,
  environment: ElasticTimers,
  hooks: ElasticHooks = {},
): Promise<ElasticLink> {
  const client = createClient(settings);
  const link = new ElasticLink(client, settings, environment, hooks);
  try {
    await link.greet();
    return link;
  } catch (error) {
    await link.close();
    throw error;
  }
}

export class ElasticLink {
  readonly #client: Client;
  readonly #settings: ElasticSettings;
  readonly #environment: ElasticTimers;
  readonly #hooks: ElasticHooks;
  /** Ends the calls under way. */
  readonly #underWay = new Set<(error: ShopError) => void>();
  #server: SearchServer | undefined;
  #isUp = true;
  #lookMs = LOOK_MS_MIN;
  #look: Timer | undefined;
  #isClosed = false;

  constructor(
    client: Client,
    settings: ElasticSettings,
    environment: ElasticTimers,
    hooks: ElasticHooks,
  ) {
    this.#client = client;
    this.#settings = settings;
    this.#environment = environment;
    this.#hooks = hooks;
  }

  /** Known once it was greeted. */
  get product(): SearchServer["product"] {
    return this.#server?.product ?? "elasticsearch";
  }

  /** Finds out whether the server can be used. */
  async greet(): Promise<void> {
    const { url, connectTimeoutMs } = this.#settings;
    let answer: ElasticAnswer<unknown>;
    try {
      answer = await this.#send({ method: "GET", path: "/" }, connectTimeoutMs);
    } catch (error) {
      throw unusable(unreached(causeOf(error), this.#settings));
    }
    if (answer.status !== 200) throw refusal(answer.status, faultOf(answer.body), this.#settings);
    this.#server = serverOf(answer.body, hostsOf(url));
    this.#hooks.onConnection?.({ isUp: true, detail: "" });
  }

  /** Rejects with `STORAGE_FAULT`, `STORAGE_FULL` or `CLOSED`. */
  async ask<Body>(call: ElasticCall): Promise<ElasticAnswer<Body>> {
    const answer = await this.#send<Body>(call, this.#settings.requestTimeoutMs);
    const { status } = answer;
    if (status < 300 || call.allowed?.includes(status) === true) return answer;
    throw answerFailure(status, faultOf(answer.body));
  }

  /** As `ask` while a store is opened: what is not allowed is the server's being unusable. */
  async prepare(call: ElasticCall): Promise<number> {
    let answer: ElasticAnswer<unknown>;
    try {
      // It has answered before: what takes longer now is the work of a server that has just begun.
      answer = await this.#send(call, Math.min(this.#settings.requestTimeoutMs, PREPARE_MS_MAX));
    } catch (error) {
      const hosts = hostsOf(this.#settings.url);
      throw unusable(`the server at ${hosts} does not answer (${reasonOf(causeOf(error))})`);
    }
    const { status, body } = answer;
    if (status < 300 || call.allowed?.includes(status) === true) return status;
    throw refusal(status, faultOf(body), this.#settings);
  }

  /** Idempotent; calls under way are rejected with `CLOSED`. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#look?.cancel();
    for (const end of this.#underWay) end(closed());
    await this.#client.close();
  }

  async #send<Body>(call: ElasticCall, timeoutMs: number): Promise<ElasticAnswer<Body>> {
    if (this.#isClosed) throw closed();
    try {
      const answer = await this.#request<Body>(call, timeoutMs);
      this.#tellOf(answer.status, call);
      return answer;
    } catch (error) {
      if (!this.#isClosed) this.#tell(false, reasonOf(causeOf(error)));
      throw callFailure(error);
    }
  }

  #request<Body>(call: ElasticCall, timeoutMs: number): Promise<ElasticAnswer<Body>> {
    const { promise, resolve, reject } = Promise.withResolvers<ElasticAnswer<Body>>();
    const { method, path, query = {}, body, lines } = call;
    const content = lines === undefined ? { ...(body && { body }) } : { bulkBody: lines };
    const sent = this.#client.transport.request(
      { method, path, querystring: { ...query }, ...content },
      { maxRetries: 0, requestTimeout: timeoutMs, ignore: IGNORED },
    );
    // The client's own time ends with the first byte of an answer.
    const timer = this.#environment.startTimer(timeoutMs, () => {
      reject(new ShopError("STORAGE_FAULT", "elasticsearch: no answer in time", "later"));
      sent.abort();
    });
    this.#underWay.add(reject);
    sent
      .then(({ statusCode, body: answer }) => {
        // What was asked for has a documented answer; whoever asks names it.
        resolve({ status: statusCode ?? 0, body: answer as Body });
      }, reject)
      .finally(() => {
        timer.cancel();
        this.#underWay.delete(reject);
      });
    return promise;
  }

  /** Of an answer that says that the server is away, unless this call alone is refused so. */
  #tellOf(status: number, { allowed }: ElasticCall): void {
    const isAway = status === 502 || status === 503;
    // Whoever allows it cannot tell the server's own word from that of what stands before it.
    if (isAway && allowed?.includes(status) === true) return;
    this.#tell(!isAway, `status ${status}`);
  }

  #tell(isUp: boolean, why: string): void {
    if (this.#server === undefined || isUp === this.#isUp) return;
    this.#isUp = isUp;
    this.#look?.cancel();
    this.#lookMs = LOOK_MS_MIN;
    if (!isUp) this.#lookAgain();
    const detail = `elasticsearch: nothing usable at ${hostsOf(this.#settings.url)} (${why})`;
    this.#hooks.onConnection?.({ isUp, detail: isUp ? "" : detail });
  }

  #lookAgain(): void {
    const delayMs = this.#lookMs * (0.5 + this.#environment.random() / 2);
    this.#lookMs = Math.min(2 * this.#lookMs, LOOK_MS_MAX);
    this.#look = this.#environment.startTimer(delayMs, () => {
      const call = { method: "GET", path: "/" } as const;
      this.#send(call, this.#settings.connectTimeoutMs)
        // Why it is down has been said; `send` has told when it is up.
        .catch(() => undefined)
        .finally(() => {
          if (!this.#isUp && !this.#isClosed) this.#lookAgain();
        });
    });
  }
}

/** Every status is an answer to us: the client throws for the network alone. */
const IGNORED = Array.from({ length: 200 }, (_, index) => 400 + index);

function closed(): ShopError {
  return new ShopError("CLOSED", "the audit on elasticsearch is closed", "never");
}

function causeOf(error: unknown): unknown {
  return error instanceof ShopError && error.cause instanceof Error ? error.cause : error;
}

/** An answer with an error holds it in one of two ways. */
function faultOf(body: unknown): FaultBody {
  if (typeof body !== "object" || body === null || !("error" in body)) return {};
  const { error } = body;
  if (typeof error === "string") return { reason: error };
  if (typeof error !== "object" || error === null) return {};
  const { type, reason }: { readonly type?: unknown; readonly reason?: unknown } = error;
  return {
    ...(typeof type === "string" ? { type } : {}),
    ...(typeof reason === "string" ? { reason } : {}),
  };
}

function createClient(settings: ElasticSettings): Client {
  const { url, username, password, apiKey, caPath } = settings;
  const nodes = url.split(",").map((one) => one.trim());
  if (!nodes.every((one) => /^https?:\/\//.test(one) && URL.canParse(one))) {
    throw unusable(
      "this is no address, as http://host:9200 and https://user:password@host:9200 are",
    );
  }
  const options: ClientOptions = {
    nodes,
    maxRetries: 0,
    requestTimeout: settings.requestTimeoutMs,
    ...(apiKey === "" ? {} : { headers: { authorization: `ApiKey ${apiKey}` } }),
    ...(apiKey === "" && username !== "" ? { auth: { username, password } } : {}),
    ...(caPath === "" ? {} : { ssl: { ca: readCertificate(caPath) } }),
  };
  return new Client(options);
}

function readCertificate(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    const text = `elasticsearch.caPath: the file ${path} cannot be read`;
    throw new ShopError("SERVER_UNUSABLE", text, "never");
  }
}
