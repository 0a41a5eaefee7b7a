/** Which servers are refused, and in which words: a table of facts. */

import { describe, expect, test } from "bun:test";

import {
  checkRights,
  checkServer,
  checkSlots,
  serverAddress,
  unusableServer,
} from "./postgres-checks.ts";
import { POSTGRES_DEFAULTS } from "./postgres-options.ts";

const GOOD = {
  version: "15.4",
  number: 150_004,
  isStandby: false,
  fsync: "on",
  fullPageWrites: "on",
  synchronousCommit: "on",
  encoding: "UTF8",
};
const RIGHTS = { user: "u", database: "d", hasSchema: true, mayCreate: true, mayUse: true };

describe("a server", () => {
  test("that is right is used without a word", () => {
    expect(checkServer(GOOD)).toEqual([]);
    expect(checkServer({ ...GOOD, version: "13.0", number: 130_000 })).toEqual([]);
  });

  test("that is too old, read-only or of another encoding is refused", () => {
    expect(() => checkServer({ ...GOOD, version: "12.9", number: 120_009 })).toThrow(
      "postgres.url: the server is PostgreSQL 12.9, needed is 13 or later",
    );
    expect(() => checkServer({ ...GOOD, isStandby: true })).toThrow("standby");
    expect(() => checkServer({ ...GOOD, encoding: "LATIN1" })).toThrow("needed is UTF8");
  });

  test("that may lose what it acknowledged is warned of", () => {
    expect(checkServer({ ...GOOD, fsync: "off" })).toHaveLength(1);
    const all = { ...GOOD, fsync: "off", fullPageWrites: "off", synchronousCommit: "off" };
    expect(checkServer(all)).toHaveLength(3);
  });
});

describe("a user", () => {
  test("without the rights is refused, with the words that would give them", () => {
    const settings = POSTGRES_DEFAULTS;
    expect(() => checkRights(RIGHTS, settings)).not.toThrow();
    expect(() => checkRights({ ...RIGHTS, mayCreate: false }, settings)).toThrow(
      "GRANT CREATE ON SCHEMA shopstream TO u",
    );
    expect(() => checkRights({ ...RIGHTS, hasSchema: false, mayCreate: false }, settings)).toThrow(
      "GRANT CREATE ON DATABASE d TO u",
    );
    expect(() => checkRights({ ...RIGHTS, mayUse: false }, settings)).toThrow("GRANT USAGE");
    const checking = { ...settings, migrates: false };
    expect(() => checkRights({ ...RIGHTS, mayCreate: false }, checking)).not.toThrow();
    expect(() => checkRights({ ...RIGHTS, hasSchema: false }, checking)).toThrow("no schema");
  });
});

test("slots are those that the data was made with", () => {
  expect(() => checkSlots(64, 64)).not.toThrow();
  expect(() => checkSlots(64, 32)).toThrow("slots is fixed for the life of the data: it is 64");
});

describe("a refusal", () => {
  test("names the setting and never the password", () => {
    const url = "postgres://shop:s%C3%A9cret@db.example:6543/orders";
    const settings = { ...POSTGRES_DEFAULTS, url };
    const codes = ["28P01", "28000", "3D000", "ECONNREFUSED", "ENOTFOUND", "CONNECT_TIMEOUT", "X"];
    for (const code of codes) {
      const error = unusableServer(settings, code, new Error("cause"));
      expect(error).toMatchObject({ code: "SERVER_UNUSABLE", retry: "never" });
      expect(error.message).toStartWith("postgres.url: ");
      expect(error.message).not.toMatch(/s.cret|C3/);
    }
    const refused = unusableServer(settings, "28P01", undefined);
    expect(refused.message).toBe('postgres.url: the server refuses user "shop" (wrong password?)');
    expect(unusableServer(settings, "3D000", undefined).message).toContain('"orders"');
  });

  test("of a url that is none says what one looks like", () => {
    for (const url of ["", "localhost", "mysql://h/d", "postgres:///d"]) {
      expect(() => serverAddress(url)).toThrow("postgres://user:password@host:5432/database");
    }
    expect(serverAddress("postgresql://h/d")).toBe("h:5432");
  });
});
