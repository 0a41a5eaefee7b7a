/**
 * Where a configuration comes from, what overrides what, and how a mistake is reported.
 *
 * Every refusal must carry three things: the name, the origin, and what is allowed.
 */

import { describe, expect, test } from "bun:test";

import * as fc from "fast-check";

import { isShopError } from "../../runtime/errors.ts";
import type { ShopConfig } from "./config-schema.ts";
import { resolveShards } from "./config-schema.ts";
import { configHelp, describeConfig } from "./describe-config.ts";
import type { ConfigInput } from "./load-config.ts";
import { loadConfig } from "./load-config.ts";
import { nearestName } from "./nearest-name.ts";
import { SETTINGS, settingOfEnvironment, settingOfFlag } from "./setting-names.ts";

interface Sources {
  readonly argv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string>>;
}

function input({ argv = [], env = {}, files = {} }: Sources): ConfigInput {
  return { argv, env, cwd: "/shop", readFile: (path) => files[path] };
}

function load(sources: Sources): ShopConfig {
  return loadConfig(input(sources)).config;
}

function refusal(sources: Sources): string {
  try {
    loadConfig(input(sources));
  } catch (error) {
    if (isShopError(error, "BAD_CONFIGURATION")) return error.message;
    throw error;
  }
  throw new Error("nothing was refused");
}

describe("the defaults", () => {
  test("are complete and are the documented ones", () => {
    const config = load({});
    expect(config.host).toBe("127.0.0.1");
    expect(config.port).toBe(8080);
    expect(config.data).toBe("./data");
    expect(config.shards).toBe("auto");
    expect(config.slots).toBe(64);
    expect(config.roles).toEqual([
      "order",
      "payment",
      "inventory",
      "shipping",
      "notification",
      "audit",
      "analytics",
    ]);
    expect(config.limits.bodyBytes).toBe(262_144);
    expect(config.payment.latency).toEqual({ kind: "lognormal", medianMs: 120, sigma: 0.4 });
    expect(config.payment.declineRate).toBe(0);
    expect(config.inventory).toEqual({
      reservationTtlMs: 1_800_000,
      cacheTtlMs: 300_000,
      cache: "memory",
    });
    expect(config.shipping).toEqual({ packMs: 200, deliveryMs: 5000 });
    expect(config.shutdownMs).toBe(10_000);
  });

  test("are not shared: changing one loaded configuration leaves the next one alone", () => {
    const first = load({});
    Reflect.set(first.payment, "seed", 99);
    expect(load({}).payment.seed).toBe(1);
  });

  test("give every setting an origin", () => {
    const { origins } = loadConfig(input({}));
    expect([...origins.keys()]).toEqual(SETTINGS.map(({ path }) => path));
    expect(new Set(origins.values())).toEqual(new Set(["default"]));
  });
});

describe("the order of strength", () => {
  const files = { "/shop/shopstream.toml": "port = 1\nslots = 100\n[payment]\nseed = 1\n" };
  const env = { SHOPSTREAM_PORT: "2", SHOPSTREAM_PAYMENT_SEED: "2" };

  test("is file, then environment, then flag", () => {
    const { config, origins } = loadConfig(input({ files, env, argv: ["--port", "3"] }));
    expect([config.slots, config.payment.seed, config.port]).toEqual([100, 2, 3]);
    expect(origins.get("slots")).toBe("file /shop/shopstream.toml");
    expect(origins.get("payment.seed")).toBe("environment SHOPSTREAM_PAYMENT_SEED");
    expect(origins.get("port")).toBe("flag --port");
    expect(origins.get("host")).toBe("default");
  });

  test("takes the file that --config or SHOPSTREAM_CONFIG names instead of the default one", () => {
    const other = { ...files, "/etc/shop.json": '{"port": 7, "payment": {"seed": 8}}' };
    expect(load({ files: other, argv: ["--config", "/etc/shop.json"] }).port).toBe(7);
    expect(load({ files: other, argv: ["--config=/etc/shop.json"] }).slots).toBe(64);
    expect(load({ files: other, env: { SHOPSTREAM_CONFIG: "/etc/shop.json" } }).port).toBe(7);
  });

  test("refuses a file that was asked for and is not there", () => {
    expect(refusal({ argv: ["--config", "gone.toml"] })).toContain("/shop/gone.toml");
  });
});

describe("names", () => {
  test("of a nested setting have one form per source, and tolerated spellings", () => {
    for (const name of [
      "SHOPSTREAM_PAYMENT_LATENCY_MEDIAN_MS",
      "SHOPSTREAM_PAYMENT__LATENCY__MEDIAN_MS",
    ]) {
      expect(load({ env: { [name]: "5" } }).payment.latency.medianMs).toBe(5);
    }
    for (const flag of [
      "--payment-latency-median-ms",
      "--payment.latency.median-ms",
      "--payment.latency.medianMs",
    ]) {
      expect(load({ argv: [flag, "5"] }).payment.latency.medianMs).toBe(5);
      expect(load({ argv: [`${flag}=6`] }).payment.latency.medianMs).toBe(6);
    }
  });

  test("round-trip: every setting is found by the names it prints", () => {
    for (const setting of SETTINGS) {
      expect(settingOfEnvironment(setting.environmentName)).toBe(setting);
      expect(settingOfFlag(setting.flag)).toBe(setting);
    }
  });

  test("that are unknown are refused with the nearest known one", () => {
    expect(refusal({ env: { SHOPSTREAM_PROT: "1" } })).toBe(
      "environment SHOPSTREAM_PROT is not a setting; did you mean SHOPSTREAM_PORT?",
    );
    expect(refusal({ argv: ["--shrads", "2"] })).toStartWith(
      "flag --shrads is not a setting; did you mean --shards?",
    );
    expect(refusal({ files: { "/shop/shopstream.toml": "[payment]\nsede = 1" } })).toBe(
      "payment.sede (file /shop/shopstream.toml) is not a setting; did you mean payment.seed?",
    );
  });

  test("that belong to the tests or to others are left alone", () => {
    expect(load({ env: { SHOPSTREAM_REQUIRE: "kafka", PORT: "1", HOME: "/" } }).port).toBe(8080);
  });

  test("in lower case are not taken from the environment", () => {
    expect(refusal({ env: { SHOPSTREAM_port: "1" } })).toContain("did you mean SHOPSTREAM_PORT?");
  });

  test("given twice in one source are refused", () => {
    expect(refusal({ argv: ["--port", "1", "--port=2"] })).toContain("given twice");
    const env = { SHOPSTREAM_PAYMENT_SEED: "1", SHOPSTREAM_PAYMENT__SEED: "2" };
    expect(refusal({ env })).toContain("given twice");
  });
});

describe("values", () => {
  test("that are bad name themselves, their origin and what is allowed", () => {
    expect(refusal({ env: { SHOPSTREAM_PORT: "99999" } })).toBe(
      "port = 99999 (environment SHOPSTREAM_PORT): allowed is a whole number from 0 to 65535",
    );
    expect(refusal({ argv: ["--payment.decline-rate=2"] })).toBe(
      "payment.declineRate = 2 (flag --payment.decline-rate): allowed is a number from 0 to 1",
    );
    expect(refusal({ argv: ["--shards", "many"] })).toBe(
      'shards = "many" (flag --shards): allowed is auto or a whole number from 1 to 64',
    );
    expect(refusal({ files: { "/shop/shopstream.toml": 'port = "80"' } })).toBe(
      'port = "80" (file /shop/shopstream.toml): allowed is a whole number from 0 to 65535',
    );
  });

  test("are read strictly from text", () => {
    const bad = ["", " 1", "1e3", "0x10", "1_000", "+1", "01", "1.0.0", "NaN", "Infinity", "-1"];
    for (const text of bad) {
      expect(refusal({ env: { SHOPSTREAM_PORT: text } })).toContain("SHOPSTREAM_PORT");
    }
    for (const text of ["yes", "1", "TRUE", ""]) {
      expect(refusal({ env: { SHOPSTREAM_DEMO_STOCK: text } })).toContain("true, false, on or off");
    }
    expect(load({ env: { SHOPSTREAM_DEMO_STOCK: "off" } }).demoStock).toBe(false);
    expect(load({ argv: ["--sabotage", "on"] }).sabotage).toBe(true);
  });

  test("of a union take its words and its numbers", () => {
    expect(load({ argv: ["--shards", "auto"] }).shards).toBe("auto");
    expect(load({ argv: ["--shards", "4"] }).shards).toBe(4);
    expect(refusal({ argv: ["--shards", "65"] })).toContain("from 1 to 64");
  });

  test("of a list are split at commas; repeats and unknown members are refused", () => {
    expect(load({ env: { SHOPSTREAM_ROLES: "order, payment" } }).roles).toEqual([
      "order",
      "payment",
    ]);
    for (const roles of ["order,order", "fraud", ""]) {
      expect(refusal({ env: { SHOPSTREAM_ROLES: roles } })).toContain("order, payment, inventory");
    }
  });

  test("that contradict each other are refused", () => {
    expect(refusal({ argv: ["--shards", "8", "--slots", "4"] })).toContain(
      "shards = 8 is more than slots = 4 (shards from flag --shards, slots from flag --slots)",
    );
    const env = { SHOPSTREAM_PAYMENT_PROVIDER: "http" };
    expect(refusal({ env })).toContain("payment.url is needed");
    const url = "http://127.0.0.1:9/pay";
    expect(load({ env: { ...env, SHOPSTREAM_PAYMENT_URL: url } }).payment.url).toBe(url);
  });

  test("that are bad are all reported at once", () => {
    const message = refusal({
      argv: ["--port", "x", "--slots", "0", "stray"],
      env: { SHOPSTREAM_X: "" },
    });
    expect(message.split("\n")).toHaveLength(4);
    expect(message).toContain("argument stray is not a flag");
  });

  test("are not eaten: a flag without one is refused and the next flag still counts", () => {
    expect(refusal({ argv: ["--host", "--port", "x"] }).split("\n")).toEqual(
      [
        'port = "x" (flag --port): allowed is a whole number from 0 to 65535',
        "flag --host needs a value: a text that is not empty",
      ].toReversed(),
    );
    expect(refusal({ argv: ["--port"] })).toContain("flag --port needs a value");
  });
});

describe("files", () => {
  const path = "/shop/shopstream.toml";

  test("that are not TOML or JSON are refused by name", () => {
    expect(refusal({ files: { [path]: "port = [" } })).toContain(`${path} is not TOML`);
    const argv = ["--config", "c.json"];
    expect(refusal({ argv, files: { "/shop/c.json": "{" } })).toContain("/shop/c.json is not JSON");
    expect(refusal({ argv, files: { "/shop/c.json": "[1]" } })).toContain("holds no settings");
  });

  test("refuse a value where a group belongs and a group where a value belongs", () => {
    expect(refusal({ files: { [path]: "payment = 1" } })).toContain("group of settings");
    expect(refusal({ files: { [path]: "[port]\na = 1" } })).toContain("port = {");
  });

  test("cannot reach the prototype", () => {
    const files = { "/shop/c.json": '{"__proto__": {"port": 1}, "constructor": {"port": 1}}' };
    const message = refusal({ argv: ["--config", "c.json"], files });
    expect(message).toContain("__proto__");
    expect(message).toContain("constructor");
  });
});

describe("the printed configuration", () => {
  test("shows every value with its origin and no secret", () => {
    const env = {
      SHOPSTREAM_PAYMENT_PROVIDER: "http",
      SHOPSTREAM_PAYMENT_URL: "https://user:hunter2@pay.example/v1",
    };
    const printed = describeConfig(loadConfig(input({ env })));
    expect(printed.split("\n")).toHaveLength(SETTINGS.length);
    expect(printed).toMatch(/^port = 8080 +\(default\)$/m);
    expect(printed).toContain('payment.url = "https://***@pay.example/v1"');
    expect(printed).not.toContain("hunter2");
  });

  test("never shows a secret in a refusal either", () => {
    const message = refusal({ env: { SHOPSTREAM_PAYMENT_URL: "ftp://user:hunter2@pay.example" } });
    expect(message).toContain("SHOPSTREAM_PAYMENT_URL");
    expect(message).not.toContain("hunter2");
  });

  test("has a help that names every setting with its default", () => {
    const help = configHelp();
    for (const { path, flag, environmentName, schema } of SETTINGS) {
      expect(help).toContain(`${flag}  (${path}, ${environmentName})`);
      expect(schema.description).toBeString();
    }
    expect(help).toContain("default 8080; a whole number from 0 to 65535");
  });
});

test("shards follow the cores, leave one free, and never exceed the slots", () => {
  const auto = { shards: "auto", slots: 64 } as const;
  expect([0, 1, 2, 8, 1000].map((cores) => resolveShards(auto, cores))).toEqual([1, 1, 1, 7, 64]);
  expect(resolveShards({ shards: "auto", slots: 2 }, 8)).toBe(2);
  expect(resolveShards({ shards: 3, slots: 64 }, 8)).toBe(3);
});

test("any number the schema allows is read back from its text, and no other text is", () => {
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 0, max: 65_535 }), (text, port) => {
      expect(load({ argv: [`--port=${port}`] }).port).toBe(port);
      const canonical = /^(0|[1-9][0-9]{0,4})(\.0+)?$/.test(text) && Number(text) <= 65_535;
      if (canonical) return;
      expect(refusal({ env: { SHOPSTREAM_PORT: text } })).toContain("SHOPSTREAM_PORT");
    }),
  );
});

test("a name one slip away is found, and a far one is not", () => {
  const names = ["payment.timeoutMs", "payment.url", "port"];
  expect(nearestName("payment.timeuotMs", names)).toBe("payment.timeoutMs");
  expect(nearestName("PORT", names)).toBe("port");
  expect(nearestName("prt", names)).toBe("port");
  expect(nearestName("colour", names)).toBeUndefined();
});
