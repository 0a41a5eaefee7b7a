/**
 * Servers that refuse to run as root, and the account that they run under instead.
 *
 * As anyone but root nothing changes. As root the account of the Debian package is used, and the
 * data directory is given to it.
 */

import { chmodSync, mkdirSync } from "node:fs";

/** Puts the change of user before a command, when this process is root. */
export function asAccount(account: string, argv: readonly string[]): readonly string[] {
  if (process.getuid?.() !== 0) return argv;
  return ["setpriv", `--reuid=${account}`, `--regid=${account}`, "--clear-groups", ...argv];
}

/** Makes a directory of the account's own, reachable for it. */
export async function giveDirectory(account: string, parent: string, path: string): Promise<void> {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (process.getuid?.() !== 0) return;
  chmodSync(parent, 0o755);
  await runToEnd(["chown", `${account}:${account}`, path]);
}

/** Runs a short command; its output is in the error when it fails. */
export async function runToEnd(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const child = Bun.spawn([...argv], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...Bun.env, ...env },
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (exitCode === 0) return stdout;
  throw new Error(`${argv.slice(0, 3).join(" ")} … ended with ${exitCode}: ${stderr}${stdout}`);
}
