/**
 * What an address says of encryption, as a table of what becomes of each mode. What it may not say
 * is refused with what it may.
 */

import { expect, test } from "bun:test";

import { encryptionOf } from "./postgres-encryption.ts";

const URL = "postgres://me:p%40ss@db.example:5432/shop";

test("without a word of it, and when told not to, nothing is encrypted", () => {
  expect(encryptionOf(URL)).toEqual({ url: URL, ssl: false });
  expect(encryptionOf(`${URL}?sslmode=disable`)).toEqual({ url: URL, ssl: false });
});

test.each([["require"], ["verify-ca"], ["verify-full"]])(
  "sslmode=%s encrypts and checks the certificate, and the server is told nothing of it",
  (mode) => {
    const ssl = { rejectUnauthorized: true };
    expect(encryptionOf(`${URL}?sslmode=${mode}`)).toEqual({ url: URL, ssl });
    const more = `${URL}?application_name=x&sslmode=${mode}`;
    expect(encryptionOf(more).url).toBe(`${URL}?application_name=x`);
  },
);

test("sslmode=no-verify takes any certificate, with a warning", () => {
  const { ssl, warning } = encryptionOf(`${URL}?sslmode=no-verify`);
  expect(ssl).toEqual({ rejectUnauthorized: false });
  expect(warning).toContain("sslmode=no-verify");
});

test.each([["prefer"], ["allow"], ["yes"], ["VERIFY-FULL"], [""]])(
  "sslmode=%s is refused with the modes there are",
  (mode) => {
    const text = `sslmode=${mode} is not used here; there are disable, require, verify-ca, `;
    expect(() => encryptionOf(`${URL}?sslmode=${mode}`)).toThrow(`postgres.url: ${text}`);
  },
);

test.each([["sslrootcert=/ca.pem"], ["sslcert=/c.pem"], ["ssl=true"]])(
  "%s, of other clients, is refused by name and not handed to the server",
  (parameter) => {
    const name = parameter.split("=")[0];
    const refusal = () => encryptionOf(`${URL}?sslmode=require&${parameter}`);
    expect(refusal).toThrow(`postgres.url: ${name} is not known; sslmode says`);
    expect(refusal).not.toThrow("p%40ss");
  },
);
