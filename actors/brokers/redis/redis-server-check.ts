/**
 * Whether a server can be used, by what it says of itself: facts to a refusal and warnings.
 *
 * Refuses servers that are too old, that are a part of a cluster, that only copy another, or that
 * throw away keys when memory is full. What it would not tell is taken to be right and said.
 */

import type { ShopError } from "../../../runtime/errors.ts";

import { unusable } from "./redis-failure.ts";

/** The first with `XADD key 0-*` and with flags of scripts. */
const MAJOR_MIN = 7;

export interface ServerFacts {
  /** Of `INFO`. */
  readonly info: ReadonlyMap<string, string>;
  /** Of `CONFIG GET`; `undefined` where it may not be asked. */
  readonly config: ReadonlyMap<string, string> | undefined;
}

export interface ServerJudgement {
  readonly refusal: ShopError | undefined;
  readonly warnings: readonly string[];
  /** What it confirms survives a crash of the machine, as far as it says. */
  readonly isDurable: boolean;
}

export function judgeServer({ info, config }: ServerFacts): ServerJudgement {
  const fsync = config?.get("appendfsync");
  const isDurable = config?.get("appendonly") === "yes" && fsync === "always";
  const warnings: string[] = [];
  if (config === undefined) {
    warnings.push(
      "the server does not say whether what it confirms is on disk (CONFIG GET refused)",
    );
  } else if (!isDurable) {
    const how = config.get("appendonly") === "yes" ? `appendfsync ${fsync}` : "appendonly no";
    warnings.push(`confirmed frames can be lost in a crash: ${how}; durable is appendfsync always`);
  }
  const policy = policyOf(info);
  if (policy.startsWith("volatile-")) {
    warnings.push(`maxmemory-policy ${policy} may forget verdicts of the fraud check early`);
  }
  return { refusal: refusalOf(info), warnings, isDurable };
}

/** What is thrown away when memory is full; nothing while there is no limit. */
function policyOf(info: ReadonlyMap<string, string>): string {
  return info.get("maxmemory") === "0" ? "" : (info.get("maxmemory_policy") ?? "");
}

function refusalOf(info: ReadonlyMap<string, string>): ShopError | undefined {
  const version = info.get("redis_version") ?? "of an unknown version";
  const major = Number(version.split(".", 1)[0]);
  if (!(major >= MAJOR_MIN)) {
    return unusable(`the server is Redis ${version}, needed is ${MAJOR_MIN}.0 or later`);
  }
  if (info.get("cluster_enabled") === "1" || info.get("redis_mode") === "cluster") {
    return unusable("the server is part of a cluster, needed is a single one (with replicas)");
  }
  if (info.get("role") === "slave") {
    return unusable("the server is a replica and takes no writes, needed is its primary");
  }
  const policy = policyOf(info);
  if (policy.startsWith("allkeys-")) {
    return unusable(`maxmemory-policy ${policy} would throw frames away, needed is noeviction`);
  }
  return undefined;
}
