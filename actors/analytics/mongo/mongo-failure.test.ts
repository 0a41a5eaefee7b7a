/**
 * What is said of failures: which may heal, which are repeats, and that no password is ever
 * printed.
 */

import { expect, test } from "bun:test";
import { MongoBulkWriteError, MongoNetworkError, MongoServerError } from "mongodb";

import { addressParts, duplicatesIn, mongoFailure, unusable } from "./mongo-failure.ts";

const addresses = [
  ["mongodb://localhost", "localhost", ""],
  ["mongodb://me:pass@a:1,b:2/shop?x=1", "a:1,b:2", "me"],
  ["mongodb+srv://me@cluster.example/shop", "cluster.example", "me"],
  ["nonsense", "", ""],
] as const;
for (const [url, hosts, user] of addresses) {
  test(`the address ${url} is told as its hosts and its user`, () => {
    expect(addressParts(url)).toEqual({ hosts, user });
  });
}

const failures = [
  [new MongoNetworkError("gone"), "STORAGE_FAULT"],
  [new MongoServerError({ message: "no primary", code: 10_107 }), "STORAGE_FAULT"],
  [new MongoServerError({ message: "disk is full", code: 14_031 }), "STORAGE_FULL"],
] as const;
for (const [error, code] of failures) {
  test(`${error.name} ${String(error.code ?? "")} is ${code}, and may be tried later`, () => {
    expect(mongoFailure(error)).toMatchObject({ code, retry: "later" });
  });
}

test("a bug stays what it is", () => {
  const bug = new TypeError("undefined is not a function");
  expect(mongoFailure(bug)).toBe(bug);
});

const refusals = [
  [{ code: 18 }, "mongodb://me:pw@h:1/d", 'refuses user "me" (wrong password?)'],
  [{ code: 13 }, "mongodb://me:pw@h:1/d", 'user "me" needs the role readWrite'],
  [{ code: 13 }, "mongodb://h:1/d", "wants a user and a password"],
  [{ code: 1 }, "mongodb://me:pw@h:1/d", "nothing answers at h:1 (no answer in time)"],
] as const;
for (const [fields, url, text] of refusals) {
  test(`code ${fields.code} at ${url} is told as: ${text}`, () => {
    const error = unusable(new MongoServerError({ message: "pw", ...fields }), url);
    expect(error.message).toStartWith("mongodb.url: ");
    expect(error.message).toContain(text);
    expect(error.message).not.toContain("pw");
  });
}

const networkFailures = [
  ["connection <monitor> to h:1 closed", "h:1 ends the connection; ?tls=true where it wants TLS"],
  ["unable to verify the first certificate", "of h:1 is signed by nobody who is trusted here"],
] as const;
for (const [message, text] of networkFailures) {
  test(`${message} is told as: ${text}`, () => {
    const { message: told } = unusable(new MongoNetworkError(message), "mongodb://h:1/d");
    expect(told).toStartWith("mongodb.url: ");
    expect(told).toContain(text);
  });
}

test("only a key that exists is a repeat", () => {
  const errorOf = (codes: readonly number[]) => {
    const writeErrors = codes.map((code, index) => ({ code, index }));
    const result = { getWriteConcernError: () => undefined };
    const error = new MongoBulkWriteError({ message: "bulk", code: 0 }, {} as never); // set below
    return Object.assign(error, { writeErrors, result });
  };
  expect(duplicatesIn(errorOf([11_000, 11_000]))).toEqual([0, 1]);
  expect(duplicatesIn(errorOf([11_000, 121]))).toBeUndefined();
  expect(duplicatesIn(new MongoNetworkError("gone"))).toBeUndefined();
});
