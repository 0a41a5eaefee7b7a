/**
 * What is said of an encrypted connection that could not be had, by what clients keep of it. What
 * did not come from TLS is not explained.
 */

import { describe, expect, test } from "bun:test";

import { AUTHORITIES_VARIABLE, isCertificateFault, tlsCodeKind, tlsFault } from "./tls-fault.ts";

const PLACE = "db.example:5432";
const NO_ENV = { env: {} };

function failure(message: string, code?: string): Error {
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}

const UNTRUSTED = failure("unable to verify the first certificate");

test.each([
  ["", "UNABLE_TO_VERIFY_LEAF_SIGNATURE", "is signed by nobody who is trusted here"],
  ["unable to verify the first certificate", "", "is signed by nobody who is trusted here"],
  ["", "DEPTH_ZERO_SELF_SIGNED_CERT", "is signed by nobody"],
  ["self-signed certificate in certificate chain", "", "is signed by nobody"],
  ["unable to get local issuer certificate", "", "is signed by nobody"],
  ["", "ERR_TLS_CERT_ALTNAME_INVALID", "the certificate of db.example:5432 is for another host"],
  ["Hostname/IP does not match certificate's altnames: …", "", "is for another host"],
  ["", "CERT_HAS_EXPIRED", "has expired"],
  ["certificate is not yet valid", "", "is for later"],
  ["", "ERR_SSL_WRONG_VERSION_NUMBER", "does not speak TLS there"],
  ["error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER", "", "does not speak TLS"],
  ["disconnected before secure TLS connection was established", "ECONNRESET", "does not speak TLS"],
])("an error with message '%s' and code '%s' %s", (message, code, words) => {
  const error = failure(message, code === "" ? undefined : code);
  const text = tlsFault([new Error("what wraps it"), error], PLACE, NO_ENV);
  expect(text).toContain(words);
  expect(text).toContain(PLACE);
  expect(isCertificateFault(error)).toBe(!words.includes("does not speak TLS"));
});

test("everything else is for others to explain", () => {
  const errors = [failure("x", "ECONNREFUSED"), failure("password"), undefined, { code: 1 }];
  expect(tlsFault(errors, PLACE, NO_ENV)).toBeUndefined();
  for (const error of errors) expect(isCertificateFault(error)).toBe(false);
});

test("a code by itself says whether there may have been a connection", () => {
  const kinds: Readonly<Record<string, ReturnType<typeof tlsCodeKind>>> = {
    UNABLE_TO_VERIFY_LEAF_SIGNATURE: "certificate",
    DEPTH_ZERO_SELF_SIGNED_CERT: "certificate",
    ERR_TLS_CERT_ALTNAME_INVALID: "certificate",
    CERT_HAS_EXPIRED: "certificate",
    ERR_SSL_WRONG_VERSION_NUMBER: "connection",
    ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC: "connection",
    ERR_SSL_BAD_PACKET_LENGTH: "connection",
    ERR_TLS_HANDSHAKE_TIMEOUT: "connection",
    ECONNRESET: undefined,
    "08006": undefined,
  };
  for (const [code, kind] of Object.entries(kinds)) {
    expect([code, tlsCodeKind(code)]).toEqual([code, kind]);
  }
});

describe("who has signed a certificate that is not trusted is", () => {
  const toldOf = (path: string | undefined, setting?: { name: string; path: string }) =>
    tlsFault([UNTRUSTED], PLACE, {
      env: path === undefined ? {} : { [AUTHORITIES_VARIABLE]: path },
      ...(setting === undefined ? {} : { setting }),
    });

  test("to be in a file that is to be named", () => {
    expect(toldOf(undefined)).toContain("; NODE_EXTRA_CA_CERTS names a file (PEM) of who is");
    expect(toldOf("")).toEqual(toldOf(undefined));
  });

  test("to be in a file that a setting may name as well", () => {
    const setting = { name: "some.caPath", path: "" };
    expect(toldOf("", setting)).toContain("; some.caPath or NODE_EXTRA_CA_CERTS names a file");
  });

  test("not in the file that is named", () => {
    const path = import.meta.path;
    expect(toldOf(path)).toContain(`CERTS names ${path}, which does not have who signed it`);
    const setting = { name: "some.caPath", path };
    expect(toldOf("/x.pem", setting)).toContain(`some.caPath names ${path}, which does not have`);
  });

  test("in a file that cannot be read, which is passed over without a word at the start", () => {
    expect(toldOf("/nowhere/ca.pem")).toContain("names /nowhere/ca.pem, which cannot be read");
  });
});
