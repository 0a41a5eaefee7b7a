/**
 * Why an encrypted connection could not be had, in words for whoever configured it.
 *
 * Every client keeps the reason at another place, some in the message alone, so both are read. It
 * refuses to guess: what is not known to come from TLS is `undefined`, and for others to explain.
 */

import { accessSync, constants } from "node:fs";

/** Files of authorities that are trusted beside the system's own, read when the program starts. */
export const AUTHORITIES_VARIABLE = "NODE_EXTRA_CA_CERTS";

type Env = Readonly<Record<string, string | undefined>>;

const UNTRUSTED = anyOf(
  /UNABLE_TO_(VERIFY|GET_ISSUER)|SELF_SIGNED_CERT|CERT_UNTRUSTED/,
  /unable to (verify the first|get (local )?issuer) certificate|self.signed certificate/,
);
const OTHER_HOST = /ALTNAME_INVALID|does not match certificate's altnames/;
const OUT_OF_DATE =
  /CERT_HAS_EXPIRED|CERT_NOT_YET_VALID|certificate (has expired|is not yet valid)/;
const NO_HANDSHAKE = /ERR_SSL_|WRONG_VERSION_NUMBER|before secure TLS connection was established/;
const CERTIFICATE_KINDS = [UNTRUSTED, OTHER_HOST, OUT_OF_DATE] as const;
const KINDS = [...CERTIFICATE_KINDS, NO_HANDSHAKE] as const;
/** At the first word of a connection or at any later one: the code does not say which. */
const CONNECTION_CODE = /^ERR_(SSL|TLS)_/;

export interface TlsFaultOptions {
  /** What may name authorities instead; then it does so alone. `path`: empty when it does not. */
  readonly setting?: { readonly name: string; readonly path: string };
  readonly env?: Env;
}

/** `errors`: what was thrown, and its causes. `place`: `host:port`, as it was set. */
export function tlsFault(
  errors: readonly unknown[],
  place: string,
  { setting, env = process.env }: TlsFaultOptions = {},
): string | undefined {
  const its = `the certificate of ${place}`;
  switch (kindOf(errors)) {
    case UNTRUSTED:
      return `${its} is signed by nobody who is trusted here; ${wayOut(setting, env)}`;
    case OTHER_HOST:
      return `${its} is for another host`;
    case OUT_OF_DATE:
      return `${its} has expired, or is for later`;
    case NO_HANDSHAKE:
      return `what answers at ${place} does not speak TLS there`;
    default:
      return undefined;
  }
}

/**
 * What a code means by itself. `certificate`: there never was a connection, and nothing was sent.
 * `connection`: there may have been one that broke, and what was sent on it may have been taken.
 */
export function tlsCodeKind(code: string): "certificate" | "connection" | undefined {
  if (CERTIFICATE_KINDS.some((kind) => kind.test(code))) return "certificate";
  return CONNECTION_CODE.test(code) ? "connection" : undefined;
}

/** It was the certificate: trying again does not help before somebody has seen to it. */
export function isCertificateFault(error: unknown): boolean {
  const kind = kindOf([error]);
  return kind !== undefined && kind !== NO_HANDSHAKE;
}

function anyOf(...each: readonly RegExp[]): RegExp {
  return new RegExp(each.map(({ source }) => source).join("|"));
}

function kindOf(errors: readonly unknown[]): RegExp | undefined {
  const text = errors.map(wordsOf).join("\n");
  return KINDS.find((kind) => kind.test(text));
}

function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  const code: unknown = "code" in error ? error.code : "";
  return `${typeof code === "string" ? code : ""} ${error.message}`;
}

function wayOut(setting: TlsFaultOptions["setting"], env: Env): string {
  const isSet = setting !== undefined && setting.path !== "";
  const name = isSet ? setting.name : AUTHORITIES_VARIABLE;
  const path = isSet ? setting.path : (env[AUTHORITIES_VARIABLE] ?? "");
  if (path !== "") {
    const lack = canRead(path) ? "does not have who signed it" : "cannot be read";
    return `${name} names ${path}, which ${lack}`;
  }
  const names = setting === undefined ? name : `${setting.name} or ${name}`;
  return `${names} names a file (PEM) of who is trusted beside them`;
}

function canRead(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
