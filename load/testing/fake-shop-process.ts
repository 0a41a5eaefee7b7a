/**
 * `bun load/testing/fake-shop-process.ts [stammer] [lie …]`: the fake shop as a process that can be
 * killed.
 *
 * It takes its port, its data directory and its payment provider from the same environment
 * variables as the real shop, and ignores every other setting.
 */

import { join } from "node:path";

import { startFakeShop } from "./fake-shop.ts";
import type { Lie } from "./fake-life.ts";

const words = process.argv.slice(2);
const paymentUrl = Bun.env["SHOPSTREAM_PAYMENT_URL"];
const shop = startFakeShop({
  port: Number(Bun.env["SHOPSTREAM_PORT"] ?? "0"),
  dataFile: join(Bun.env["SHOPSTREAM_DATA"] ?? ".", "fake-shop.jsonl"),
  // Only tests start this, with names from the list of lies.
  lies: words.filter((word) => word !== "stammer") as Lie[],
  stammers: words.includes("stammer"),
  stepMs: 5,
  ...(paymentUrl === undefined ? {} : { paymentUrl }),
});
process.on("SIGTERM", () => process.exit(0));
console.log(`http://127.0.0.1:${shop.port}`);
