/**
 * A shop as a process of its own, with the views of `counting-views.fixture.ts`: to be killed.
 *
 * Only for tests. Run as `bun counting-shop.fixture.ts <directory>`; prints `ready <url>`.
 */

import { systemEnvironment } from "../runtime/system-environment.ts";
import { loadConfig } from "./config/load-config.ts";
import { configureLog } from "./log.ts";
import { startShop } from "./shop.ts";

import type { ShopConfig } from "./config/config-schema.ts";

export const COUNTING_VIEWS = new URL("./counting-views.fixture.ts", import.meta.url);

export function countingConfig(
  data: string,
  views: readonly string[],
  settings: Readonly<Record<string, string>> = {},
): ShopConfig {
  const { config } = loadConfig({
    argv: [],
    env: {
      SHOPSTREAM_DATA: data,
      SHOPSTREAM_PORT: "0",
      SHOPSTREAM_SHARDS: "2",
      SHOPSTREAM_PAYMENT_LATENCY_KIND: "none",
      SHOPSTREAM_SHIPPING_PACK_MS: "20",
      SHOPSTREAM_SHIPPING_DELIVERY_MS: "20",
      ...settings,
    },
    cwd: data,
    readFile: () => undefined,
  });
  const groups: readonly string[] = ["order", "payment", "inventory", "shipping"];
  // Names of roles, whichever the schema has by now.
  return { ...config, roles: [...groups, ...views] as unknown as ShopConfig["roles"] };
}

if (import.meta.main) {
  const [directory = "."] = process.argv.slice(2);
  const shop = await startShop({
    config: countingConfig(directory, ["audit", "analytics"]),
    environment: systemEnvironment,
    cores: 3,
    log: configureLog("fatal", "text"),
    viewsEntry: COUNTING_VIEWS,
    onGiveUp: (code) => process.exit(code),
  });
  console.log(`ready ${shop.url}`);
}
