/**
 * What each code of the server and of the connection means, as a table. A code that is not in it is
 * a bug and no failure.
 */

import { expect, test } from "bun:test";

import type { PostgresFailureKind } from "./postgres-failure.ts";

import { failureText, postgresFailure, readFailure, storageFailure } from "./postgres-failure.ts";

const failed = (code: string, message = "text") => Object.assign(new Error(message), { code });

test("every code says whether something was written, and whether it helps to try again", () => {
  const kinds: Readonly<Record<string, PostgresFailureKind | undefined>> = {
    SS001: "moved",
    "23505": "moved",
    "40001": "moved",
    "40P01": "moved",
    SS002: "fenced",
    SS003: "decided",
    "53100": "full",
    "57014": "fault",
    "55P03": "fault",
    "58030": "fault",
    "25006": "fault",
    "42501": "fault",
    "22021": "refused",
    "23502": "refused",
    "54000": "refused",
    "08006": "lost",
    "25P03": "lost",
    "57P01": "lost",
    ECONNRESET: "lost",
    CONNECTION_CLOSED: "lost",
    CONNECTION_DESTROYED: "lost",
    ECONNREFUSED: "unreached",
    CONNECT_TIMEOUT: "unreached",
    CERT_HAS_EXPIRED: "unreached",
    ERR_TLS_CERT_ALTNAME_INVALID: "unreached",
    UNABLE_TO_VERIFY_LEAF_SIGNATURE: "unreached",
    DEPTH_ZERO_SELF_SIGNED_CERT: "unreached",
    ERR_SSL_BAD_PACKET_LENGTH: "lost",
    ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC: "lost",
    ERR_SSL_SSLV3_ALERT_BAD_RECORD_MAC: "lost",
    ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR: "lost",
    ERR_SSL_WRONG_VERSION_NUMBER: "lost",
    ERR_TLS_HANDSHAKE_TIMEOUT: "lost",
    "53300": "unreached",
    "57P03": "unreached",
    "28P01": "unreached",
    ERR_OUR_OWN_BUG: undefined,
  };
  for (const [code, kind] of Object.entries(kinds)) {
    expect([code, postgresFailure(failed(code))]).toEqual([code, kind]);
  }
  expect(postgresFailure(new TypeError("bug"))).toBeUndefined();
});

test("what a server says of a certificate is no word on the way to it", () => {
  const elsewhere = failed("58030", "could not connect to server: certificate has expired");
  expect(postgresFailure(elsewhere)).toBe("fault");
  const cut = failed("ECONNRESET", "disconnected before secure TLS connection was established");
  expect(postgresFailure(cut)).toBe("lost");
});

test("a commit on a connection whose encryption broke may have been taken", () => {
  const cause = failed("ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC");
  const kind = postgresFailure(cause) ?? "fault";
  expect(storageFailure(kind, cause)).toMatchObject({ code: "INDETERMINATE", retry: "later" });
});

test("callers hear a code of the house, and never a parameter", () => {
  const cause = Object.assign(failed("57014", "canceling statement"), { parameters: ["secret"] });
  const error = storageFailure("fault", cause);
  expect([error.code, error.retry]).toEqual(["STORAGE_FAULT", "later"]);
  expect(error.message).toBe("PostgreSQL: canceling statement (57014)");
  expect(storageFailure("fenced", cause)).toMatchObject({ code: "FENCED", retry: "never" });
  expect(storageFailure("refused", cause)).toMatchObject({ code: "BAD_MESSAGE", retry: "never" });
  expect(storageFailure("full", cause)).toMatchObject({ code: "STORAGE_FULL", retry: "later" });
  expect(storageFailure("lost", cause)).toMatchObject({ code: "INDETERMINATE", retry: "later" });
  expect(readFailure(failed("ECONNRESET"))).toMatchObject({ code: "STORAGE_FAULT" });
  expect(failureText(failed("ECONNREFUSED", "connect"))).toBe("connect (ECONNREFUSED)");
});
