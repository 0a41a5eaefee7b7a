/**
 * What has to be installed for some servers, as commands in their order; decided without running.
 *
 * Debian packages come first, in one command, since Maven and Go may be among them. Refuses a
 * machine without `apt-get`: it says which programs are missing and leaves them to its owner.
 */

import { join } from "node:path";

import { ShopError } from "../../runtime/errors.ts";
import { cacheDirectory, DEBIAN_PROGRAMS } from "./needs.ts";

import type { Need } from "./recipe.ts";

const DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:2.8";

export interface InstallStep {
  /** For people, before it runs. */
  readonly title: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Where the result must be moved once it is complete. */
  readonly result?: { readonly from: string; readonly to: string };
}

export interface Machine {
  isMet(need: Need): boolean;
  has(program: string): boolean;
  readonly isRoot: boolean;
  /** Downloads are made here, and moved when they are complete. */
  readonly scratch: string;
}

/** The steps that meet `needs` on `machine`; none when all are met. */
export function planInstall(needs: readonly Need[], machine: Machine): readonly InstallStep[] {
  const unmet = needs.filter((need) => !machine.isMet(need));
  const downloads = new Map<string, Need & { readonly kind: "maven" | "go" }>();
  const packages = new Set<string>();
  for (const need of unmet) {
    if (need.kind === "program") packages.add(need.debian);
    else {
      downloads.set(need.folder, need);
      const builder = DEBIAN_PROGRAMS[need.kind];
      if (!machine.isMet(builder)) packages.add(builder.debian);
    }
  }
  return [
    ...planPackages([...packages].sort(), machine),
    ...[...downloads.values()].map((need) => planDownload(need, machine)),
  ];
}

function planPackages(packages: readonly string[], machine: Machine): readonly InstallStep[] {
  if (packages.length === 0) return [];
  const list = packages.join(" ");
  if (!machine.has("apt-get")) {
    const message = `this machine has no apt-get: install what Debian calls ${list} by hand`;
    throw new ShopError("SERVER_UNUSABLE", message, "never");
  }
  if (!machine.isRoot && !machine.has("sudo")) {
    const message = `neither root nor sudo: let root run apt-get install ${list}`;
    throw new ShopError("SERVER_UNUSABLE", message, "never");
  }
  const sudo = machine.isRoot ? [] : ["sudo", "--preserve-env=DEBIAN_FRONTEND"];
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const step = (title: string, ...argv: readonly string[]): InstallStep => ({
    title,
    argv: [...sudo, "apt-get", ...argv],
    env,
    cwd: import.meta.dir,
  });
  return [
    step("Debian: apt-get update", "update", "-qq"),
    step(
      `Debian: apt-get install ${list}`,
      "install",
      "-y",
      "-qq",
      "--no-install-recommends",
      ...packages,
    ),
  ];
}

function planDownload(
  need: Need & { readonly kind: "maven" | "go" },
  machine: Machine,
): InstallStep {
  const cwd = join(import.meta.dir, need.source);
  const from = join(machine.scratch, need.folder);
  const result = { from, to: join(cacheDirectory(), need.folder) };
  if (need.kind === "go") {
    const output = join(from, need.source);
    const argv = ["go", "build", "-tags", "ferretdb_no_postgresql", "-o", output, "."];
    const env = { CGO_ENABLED: "0", GOFLAGS: "-mod=readonly" };
    return { title: `Go module proxy: ${need.folder}`, argv, env, cwd, result };
  }
  const argv = [
    "mvn",
    "-q",
    "-B",
    "-f",
    join(cwd, "pom.xml"),
    `${DEPENDENCY_PLUGIN}:copy-dependencies`,
    "-DincludeScope=runtime",
    `-DoutputDirectory=${join(from, "libs")}`,
  ];
  return { title: `Maven Central: ${need.folder}`, argv, env: {}, cwd, result };
}
