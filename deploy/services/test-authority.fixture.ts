/**
 * An authority of a test's own, which nobody else trusts, and the certificates that it signs.
 *
 * Made by `openssl` in a directory of its own that is gone with `dispose`. For tests only: keys are
 * not protected, and everything is over in two days. Refuses nothing; `whyNoOpenssl` is to be asked
 * first.
 */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { ServiceCertificate } from "./recipe.ts";

import { runToEnd } from "./account.ts";

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
const DAYS = ["-days", "2"];

/** `undefined`: it is there. */
export function whyNoOpenssl(): string | undefined {
  return Bun.which("openssl") === null ? "openssl is not installed (Debian: openssl)" : undefined;
}

export class TestAuthority {
  readonly directory: string;
  /** Its own certificate. */
  readonly path: string;

  private constructor(directory: string) {
    this.directory = directory;
    this.path = join(directory, "authority.pem");
  }

  static async make(): Promise<TestAuthority> {
    const made = new TestAuthority(mkdtempSync(join(tmpdir(), "shopstream-authority-")));
    await made.#openssl("req", "-x509", ...NEW_KEY, ...DAYS, ...made.#files("authority"), [
      ["-subj", "/CN=an authority of a test"],
      ["-addext", "basicConstraints=critical,CA:TRUE"],
      ["-addext", "keyUsage=critical,keyCertSign"],
    ]);
    return made;
  }

  /** Of a server. `names`: who it is for, as `IP:127.0.0.1` or `DNS:localhost`. */
  async sign(name: string, names: readonly string[]): Promise<ServiceCertificate> {
    const at = (ending: string): string => join(this.directory, `${name}.${ending}`);
    const extensions = [
      `subjectAltName=${names.join(",")}`,
      "extendedKeyUsage=serverAuth,clientAuth",
      "basicConstraints=CA:FALSE",
    ];
    writeFileSync(at("ext"), `${extensions.join("\n")}\n`);
    await this.#openssl("req", ...NEW_KEY, "-keyout", at("key"), "-out", at("csr"), [
      ["-subj", `/CN=${name}`],
    ]);
    await this.#openssl("x509", "-req", ...DAYS, "-in", at("csr"), "-out", at("pem"), [
      ["-CA", this.path, "-CAkey", join(this.directory, "authority.key"), "-CAcreateserial"],
      ["-extfile", at("ext")],
    ]);
    return { certificatePath: at("pem"), keyPath: at("key"), authorityPath: this.path };
  }

  dispose(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  #files(name: string): readonly string[] {
    return ["-keyout", join(this.directory, `${name}.key`), "-out", this.path];
  }

  async #openssl(...words: readonly (string | readonly (readonly string[])[])[]): Promise<void> {
    await runToEnd(["openssl", ...words.flat(2)]);
  }
}
