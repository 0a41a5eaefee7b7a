/**
 * Whether connections to PostgreSQL are encrypted, as the address says by `sslmode`.
 *
 * What is encrypted is checked: the client library itself would take any certificate for
 * `sslmode=require`. Refuses modes that may or may not encrypt, and, by name, the parameters of
 * other clients that this one would hand to the server.
 */

import type { ConnectionOptions } from "node:tls";

import { AUTHORITIES_VARIABLE } from "../../../runtime/tls-fault.ts";
import { unusableUrl } from "./postgres-checks.ts";

export interface Encryption {
  /** The address without what it says of encryption. */
  readonly url: string;
  /** `false`: plain text. */
  readonly ssl: false | ConnectionOptions;
  /** To be told at the start. */
  readonly warning?: string;
}

const CHECKED = new Set(["require", "verify-ca", "verify-full"]);
const UNCHECKED = "no-verify";
const MODES = ["disable", ...CHECKED, UNCHECKED].join(", ");
const FILES = ["sslrootcert", "sslcert", "sslkey", "sslcrl", "ssl"];

/** `url`: of a known form. Throws `SERVER_UNUSABLE` for what it may not say. */
export function encryptionOf(url: string): Encryption {
  const address = new URL(url);
  const { searchParams } = address;
  const foreign = FILES.find((name) => searchParams.has(name));
  if (foreign !== undefined) {
    const instead = `sslmode says whether to encrypt, ${AUTHORITIES_VARIABLE} whom to trust`;
    throw unusableUrl("postgres.url", `${foreign} is not known; ${instead}`);
  }
  const mode = searchParams.get("sslmode") ?? "disable";
  searchParams.delete("sslmode");
  const plain = address.href;
  if (mode === "disable") return { url: plain, ssl: false };
  if (CHECKED.has(mode)) return { url: plain, ssl: { rejectUnauthorized: true } };
  if (mode !== UNCHECKED) {
    throw unusableUrl("postgres.url", `sslmode=${mode} is not used here; there are ${MODES}`);
  }
  const warning = "sslmode=no-verify: encrypted, and whoever answers is taken for the server";
  return { url: plain, ssl: { rejectUnauthorized: false }, warning };
}
