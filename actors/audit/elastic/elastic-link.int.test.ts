/**
 * Opening a connection, and losing it: what is refused, what is said of it, and what comes back.
 */

import { afterAll, describe, expect, test } from "bun:test";

import type { ConnectionState } from "../../brokers/broker.ts";
import type { ElasticSettings } from "./elastic-settings.ts";

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { isShopError } from "../../../runtime/errors.ts";
import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { openElasticLink } from "./elastic-link.ts";
import { openElasticAuditSink } from "./elastic-audit-sink.ts";
import { openElasticAuditReads } from "./elastic-audit-reads.ts";
import { ELASTIC_SETTINGS } from "./elastic-settings.ts";

const missing = whyMissing("elasticsearch");
const available = requireOrSkip("elasticsearch", missing === undefined, missing ?? "");

async function refusalOf(overrides: Partial<ElasticSettings>): Promise<string> {
  const settings = { ...ELASTIC_SETTINGS, connectTimeoutMs: 1_500, ...overrides };
  try {
    await (await openElasticAuditSink(settings, { environment })).close();
  } catch (error) {
    if (isShopError(error, "SERVER_UNUSABLE")) return error.message;
    throw error;
  }
  return "it was opened";
}

const stubs: { stop: (isAtOnce: boolean) => unknown }[] = [];
afterAll(() => {
  for (const stub of stubs) stub.stop(true);
});

/** A server that answers as `answer` says. */
function stubOf(answer: (request: Request) => Response | Promise<Response>) {
  const stub = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: answer });
  stubs.push(stub);
  return { url: `http://127.0.0.1:${stub.port}`, host: `127.0.0.1:${stub.port}` };
}

const GREETING = { version: { number: "8.19.2" }, tagline: "You Know, for Search" };
const refuse = () => Response.json({ error: { type: "security_exception" } }, { status: 401 });

describe("an address", () => {
  test("at which nothing answers is named with the reason, and without its password", async () => {
    const text = await refusalOf({ url: "http://me:secret@127.0.0.1:1" });
    expect(text).toBe("elasticsearch.url: nothing answers at 127.0.0.1:1 (ECONNREFUSED)");
  });

  test("that is none is refused, and not repeated", async () => {
    const text = await refusalOf({ url: "redis://me:secret@127.0.0.1" });
    expect(text).toStartWith("elasticsearch.url: this is no address");
    expect(text).not.toContain("secret");
  });

  test("whose server accepts and never answers is refused in time", async () => {
    const { url, host } = stubOf(() => new Promise<Response>(() => undefined));
    const text = await refusalOf({ url, connectTimeoutMs: 300 });
    expect(text).toBe(`elasticsearch.url: nothing answers at ${host} (no answer in time)`);
  });

  test("whose server begins an answer and never ends it is refused in time", async () => {
    const { url } = stubOf(
      () => new Response(new ReadableStream({ start: (c) => c.enqueue("{") })),
    );
    const text = await refusalOf({ url, connectTimeoutMs: 300 });
    expect(text).toContain("nothing answers at");
  });

  test("of a server that is too old is refused with the version that is needed", async () => {
    const { url, host } = stubOf(() => Response.json({ version: { number: "6.8.23" } }));
    expect(await refusalOf({ url })).toBe(
      `elasticsearch.url: the server at ${host} is Elasticsearch 6.8.23, needed is ` +
        "Elasticsearch 7.10 or OpenSearch 1.0, or later",
    );
  });

  test("of something else is refused", async () => {
    const { url } = stubOf(() => new Response("<html>hello</html>"));
    expect(await refusalOf({ url })).toContain("is neither Elasticsearch nor OpenSearch");
  });
});

describe("a user", () => {
  test("with a password that the server does not take is refused without naming it", async () => {
    const { url, host } = stubOf(refuse);
    const text = await refusalOf({ url, username: "me", password: "secret" });
    const wanted = `the server at ${host} refuses user "me" (wrong password?)`;
    expect(text).toBe(`elasticsearch.url: ${wanted}`);
    expect(await refusalOf({ url: url.replace("//", "//me:secret@") })).toBe(text);
  });

  test("is asked for where the server wants one", async () => {
    const { url, host } = stubOf(refuse);
    expect(await refusalOf({ url })).toBe(
      `elasticsearch.url: the server at ${host} wants a user and a password, or an API key`,
    );
  });

  test("is known by basic authorization, an API key by its own", async () => {
    const seen: (string | null)[] = [];
    const { url } = stubOf((request) => {
      seen.push(request.headers.get("authorization"));
      return Response.json(GREETING);
    });
    for (const how of [{ username: "me", password: "pä" }, { apiKey: "a2V5" }]) {
      const settings = { ...ELASTIC_SETTINGS, url, ...how };
      await (await openElasticLink(settings, environment)).close();
    }
    expect(seen).toEqual([`Basic ${Buffer.from("me:pä").toString("base64")}`, "ApiKey a2V5"]);
  });

  test("who may not make templates is told what is needed", async () => {
    const { url } = stubOf(({ method }) =>
      method === "GET" ? Response.json(GREETING) : Response.json({}, { status: 403 }),
    );
    const text = await refusalOf({ url, username: "me", password: "secret" });
    expect(text).toStartWith('elasticsearch.url: user "me" must be allowed to manage index');
  });

  test("is told so by a server that takes its time over templates, having answered", async () => {
    const { url } = stubOf(async ({ method }) => {
      if (method === "GET") return Response.json(GREETING);
      await Bun.sleep(2_000);
      return Response.json({}, { status: 403 });
    });
    const text = await refusalOf({ url, connectTimeoutMs: 1_000 });
    expect(text).toContain("must be allowed to manage index");
  });
});

test("a certificate that cannot be read is refused by the setting's name", async () => {
  const text = await refusalOf({ url: "https://127.0.0.1:1", caPath: "/nowhere/ca.pem" });
  expect(text).toBe("elasticsearch.caPath: the file /nowhere/ca.pem cannot be read");
});

test("readers under way are rejected when they are closed", async () => {
  const asked = Promise.withResolvers<void>();
  const { url } = stubOf(({ method }) => {
    if (method === "GET") return Response.json(GREETING);
    asked.resolve();
    return new Promise<Response>(() => undefined);
  });
  const reads = await openElasticAuditReads({ ...ELASTIC_SETTINGS, url }, { environment });
  const answer = reads.search({ limit: 1 }).catch((error: unknown) => error);
  await asked.promise;
  reads.close();
  expect(isShopError(await answer, "CLOSED")).toBe(true);
  const later: unknown = await reads.head().catch((error: unknown) => error);
  expect(isShopError(later, "CLOSED")).toBe(true);
});

describe.skipIf(!available)("a connection", () => {
  test("says when the server goes and when it is back, and goes on", async () => {
    const server = await startTestServer("elasticsearch");
    const states: ConnectionState[] = [];
    let wake: () => void = () => undefined;
    const until = async (isUp: boolean) => {
      while (states.at(-1)?.isUp !== isUp) await new Promise<void>((resolve) => (wake = resolve));
    };
    const settings = { ...ELASTIC_SETTINGS, url: server.url, requestTimeoutMs: 2_000 };
    const link = await openElasticLink(settings, environment, {
      onConnection(state) {
        states.push(state);
        wake();
      },
    });
    try {
      await until(true);
      await server.kill();
      const failed: unknown = await link
        .ask({ method: "GET", path: "/" })
        .catch((error: unknown) => error);
      expect(isShopError(failed, "STORAGE_FAULT")).toBe(true);
      await until(false);
      expect(states.at(-1)?.detail).toStartWith(
        `elasticsearch: nothing usable at ${server.address}`,
      );
      await server.start();
      // Nobody asks for anything: it is looked for all the same.
      await until(true);
      expect((await link.ask({ method: "GET", path: "/" })).status).toBe(200);
    } finally {
      await link.close();
      await server.dispose();
    }
  });
});
