/**
 * Looks at a cluster once, before it is used: there, willing, new enough, with the rights needed.
 *
 * Speaks the protocol by itself, whichever client the settings name, and leaves nothing behind.
 * Refuses with `SERVER_UNUSABLE` what is older than the requests that are sent, and a user who may
 * not do on a topic what a shop does; what else may be wrong shows when the cluster is opened.
 */

import type { Connection } from "@platformatic/kafka";
import type { Environment } from "../../../runtime/environment.ts";
import type { KafkaSettings } from "./kafka-options.ts";

import { apiVersionsV0, createTopicsV5, findCoordinatorV4, metadataV9 } from "@platformatic/kafka";

import { assert, isShopError, ShopError } from "../../../runtime/errors.ts";
import { LETTERS_TOPIC } from "./letter-box.ts";
import { connectFailure, responseOf, summaryOf } from "./platformatic-errors.ts";
import { PlatformaticLink } from "./platformatic-link.ts";
import { settledWithin } from "./settled-within.ts";

export interface KafkaInspection {
  readonly environment: Environment;
  readonly settings: KafkaSettings;
  /** Without the prefix. */
  readonly topics: readonly string[];
  /** That will be joined, without the prefix. Absent: none is looked at. */
  readonly groups?: readonly string[];
}

/** What a cluster says that it speaks: the newest version of each request, by its number. */
export type SpokenVersions = ReadonlyMap<number, number>;

/** What it says of a topic. `rights`: a bit for each, by the number of the right. */
export interface TopicStanding {
  readonly topic: string;
  readonly errorCode: number;
  readonly rights: number;
}

const INSPECT_WITHIN_MS = 6_000;
const OLDEST = "Kafka 3.0";
/** The youngest of the requests that are sent: number and version. Others are older. */
const YOUNGEST: readonly (readonly [name: string, request: number, version: number])[] = [
  ["OffsetFetch", 9, 8],
  ["FindCoordinator", 10, 4],
];
/** Numbers of the protocol. */
const UNKNOWN_TOPIC = 3;
const TOPIC_AUTHORIZATION_FAILED = 29;
const GROUP_AUTHORIZATION_FAILED = 30;
const CLUSTER_AUTHORIZATION_FAILED = 31;
const RIGHTS = [
  ["READ", 3],
  ["WRITE", 4],
  ["DESCRIBE_CONFIGS", 10],
] as const;
const GROUP_KEY = 0;
/** What the client says of a server that ends the connection without a word of its own. */
const GOING: ReadonlySet<string> = new Set(["Connection closed", "Broker requires TLS."]);
/** The server does not say what is allowed. */
const UNTOLD = -2_147_483_648;

/**
 * True when all topics are there. Rejects with `SERVER_UNUSABLE` naming the setting, or the topic
 * and the right.
 */
export async function inspectKafka(inspection: KafkaInspection): Promise<boolean> {
  const { environment, settings } = inspection;
  const link = new PlatformaticLink(settings);
  try {
    const looking = look(link, inspection);
    const isInTime = await settledWithin(environment, INSPECT_WITHIN_MS, looking);
    assert(isInTime, `no answer within ${INSPECT_WITHIN_MS} ms`);
    return await looking;
  } catch (error) {
    if (isShopError(error)) throw error;
    throw refusalOf(error, settings);
  } finally {
    // Of a server that does not answer, nothing is waited for.
    link.close().catch(() => undefined);
  }
}

function refusalOf(error: unknown, settings: KafkaSettings): ShopError {
  const { brokers, username, saslMechanism, tls } = settings;
  const places = brokers.join(", ");
  const isAnonymous = saslMechanism === "none";
  if (!GOING.has(summaryOf(error)) || (tls && !isAnonymous)) {
    return connectFailure(error, places, username);
  }
  const login = isAnonymous ? ["a login (kafka.saslMechanism)"] : [];
  const wanted = `needed may be ${[...login, ...(tls ? [] : ["kafka.tls"])].join(" or ")}`;
  const message = `kafka.brokers: what answers at ${places} ends the connection; ${wanted}`;
  return new ShopError("SERVER_UNUSABLE", message, "never", { cause: error });
}

async function look(link: PlatformaticLink, inspection: KafkaInspection): Promise<boolean> {
  const { settings, topics } = inspection;
  const connection = await link.any();
  const { apiKeys } = await apiVersionsV0.api.async(connection, "", "");
  checkVersions(new Map(apiKeys.map((each) => [each.apiKey, each.maxVersion])), settings);
  const names = [...topics, LETTERS_TOPIC].map((topic) => settings.topicPrefix + topic);
  const standings = await standingsOf(connection, names);
  checkRights(standings, settings);
  const missing = standings.filter(({ errorCode }) => errorCode === UNKNOWN_TOPIC);
  if (missing.length > 0) checkMaking(await tryToMake(connection, missing, settings), settings);
  await checkGroups(connection, inspection);
  return missing.length === 0;
}

/** Throws `SERVER_UNUSABLE` for a cluster that is too old. */
export function checkVersions(spoken: SpokenVersions, { brokers }: KafkaSettings): void {
  for (const [name, request, version] of YOUNGEST) {
    const known = spoken.get(request) ?? -1;
    if (known >= version) continue;
    const found = `${name} ${known < 0 ? "not at all" : `up to version ${known}`}`;
    const where = `kafka.brokers: the server at ${brokers.join(", ")}`;
    refuse(`${where} is too old (it knows ${found}), needed is ${OLDEST} or later`);
  }
}

/** Throws `SERVER_UNUSABLE` for a topic that is there and may not be used. */
export function checkRights(
  standings: readonly TopicStanding[],
  { username }: Pick<KafkaSettings, "username">,
): void {
  const needed = RIGHTS.map(([name]) => name).join(", ");
  for (const { topic, errorCode, rights } of standings) {
    const isHidden = errorCode === TOPIC_AUTHORIZATION_FAILED;
    if (!isHidden && (errorCode !== 0 || rights === UNTOLD)) continue;
    const lacking = RIGHTS.filter(([, bit]) => isHidden || (rights & (1 << bit)) === 0);
    if (lacking.length === 0) continue;
    const names = isHidden ? "DESCRIBE" : lacking.map(([name]) => name).join(", ");
    refuse(`kafka: ${who(username)} lacks ${names} on topic ${topic}; needed are ${needed}`);
  }
}

/** Throws `SERVER_UNUSABLE` for a topic that is not there and may not be made. */
export function checkMaking(
  tries: readonly Pick<TopicStanding, "topic" | "errorCode">[],
  { username }: Pick<KafkaSettings, "username">,
): void {
  for (const { topic, errorCode } of tries) {
    const isRefused =
      errorCode === TOPIC_AUTHORIZATION_FAILED || errorCode === CLUSTER_AUTHORIZATION_FAILED;
    if (!isRefused) continue;
    refuse(`kafka: topic ${topic} is not there, and ${who(username)} lacks CREATE on it`);
  }
}

async function checkGroups(
  connection: Connection,
  { settings: { topicPrefix, username }, groups = [] }: KafkaInspection,
): Promise<void> {
  if (groups.length === 0) return;
  const names = groups.map((group) => topicPrefix + group);
  // Whoever coordinates them may not be known yet; who may not ask is refused all the same.
  const { coordinators } = await answered(
    findCoordinatorV4.api.async(connection, GROUP_KEY, names),
  );
  const refused = coordinators.find(({ errorCode }) => errorCode === GROUP_AUTHORIZATION_FAILED);
  if (refused !== undefined) refuse(`kafka: ${who(username)} lacks READ on group ${refused.key}`);
}

async function standingsOf(
  connection: Connection,
  topics: readonly string[],
): Promise<readonly TopicStanding[]> {
  const answer = await answered(metadataV9.api.async(connection, [...topics], false, true));
  const found = answer.topics.map(({ name, errorCode, topicAuthorizedOperations }) => ({
    topic: name ?? "",
    errorCode,
    rights: topicAuthorizedOperations,
  }));
  return inOrder(found, topics);
}

/** Has the server say what would come of making them. */
async function tryToMake(
  connection: Connection,
  missing: readonly TopicStanding[],
  { requestTimeoutMs }: KafkaSettings,
): Promise<readonly Pick<TopicStanding, "topic" | "errorCode">[]> {
  const topics = missing.map(({ topic }) => ({
    name: topic,
    numPartitions: 1,
    replicationFactor: 1,
    assignments: [],
    configs: [],
  }));
  const trying = createTopicsV5.api.async(connection, topics, requestTimeoutMs, true);
  const answer = await answered(trying);
  const found = answer.topics.map(({ name, errorCode }) => ({ topic: name, errorCode }));
  return inOrder(
    found,
    missing.map(({ topic }) => topic),
  );
}

/** The server answers in an order of its own. */
function inOrder<Found extends { readonly topic: string }>(
  found: readonly Found[],
  topics: readonly string[],
): readonly Found[] {
  return topics.flatMap((topic) => found.filter((each) => each.topic === topic));
}

/** An answer that names topics in trouble is an answer. */
async function answered<Answer>(asking: Promise<Answer>): Promise<Answer> {
  try {
    return await asking;
  } catch (error) {
    const response = responseOf(error);
    if (response === undefined) throw error;
    return response as Answer; // the library's own, of this request
  }
}

function who(username: string): string {
  return username === "" ? "a client without a user" : `user "${username}"`;
}

function refuse(message: string): never {
  throw new ShopError("SERVER_UNUSABLE", message, "never");
}
