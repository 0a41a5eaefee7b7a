/**
 * `bun load/provider.ts`: the payment provider of `payment-provider.ts` as a process of its own.
 *
 * It stays up while the shop is killed, so that its books can be held against the shop's. It keeps
 * every effect of its life in memory and is not meant to run for days.
 */

import { parseFlags } from "./flags.ts";
import { startPaymentProvider } from "./payment-provider.ts";

const flags = parseFlags(
  {
    port: { kind: "number", initial: 8090, low: 0, high: 65_535, help: "0: any free port" },
    ledger: { kind: "text", initial: "ledger.jsonl", help: "file of effects, appended to" },
    "latency-ms": { kind: "number", initial: 20, low: 0, high: 60_000, help: "least latency" },
    "decline-rate": { kind: "number", initial: 0, low: 0, high: 1, help: "share declined" },
    "failure-rate": { kind: "number", initial: 0, low: 0, high: 1, help: "share answered 500" },
    "hang-rate": { kind: "number", initial: 0, low: 0, high: 1, help: "share answered late" },
    "hang-ms": { kind: "number", initial: 5_000, low: 0, high: 60_000, help: "how late" },
    seed: { kind: "number", initial: 1, low: 0, high: 0xffff_ffff, help: "of chance" },
  },
  process.argv.slice(2),
);

const provider = startPaymentProvider({
  port: flags.port,
  ledgerFile: flags.ledger,
  latencyMs: flags["latency-ms"],
  declineRate: flags["decline-rate"],
  failureRate: flags["failure-rate"],
  hangRate: flags["hang-rate"],
  hangMs: flags["hang-ms"],
  seed: flags.seed,
});
process.on("SIGTERM", () => process.exit(0));
console.log(`payment provider on http://127.0.0.1:${provider.port}, ledger ${flags.ledger}`);
