/**
 * MongoDB's protocol, spoken by FerretDB 1.24 over SQLite: Debian has no MongoDB of its own.
 *
 * No transactions, no `$lookup`, no change streams, and slow updates of what is large: a stand-in
 * for development and tests. `compose.yaml` has the real server.
 */

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { askMongo } from "./ask-server.ts";
import { cacheDirectory } from "./needs.ts";
import { clientPort } from "./recipe.ts";

import type { Recipe, Site } from "./recipe.ts";

const FOLDER = "ferretdb-1.24.2";

export const mongodbRecipe: Recipe = {
  name: "mongodb",
  title: "FerretDB 1.24.2 (speaks MongoDB)",
  needs: [{ kind: "go", folder: FOLDER, source: "ferretdb" }],
  portsPerProcess: 1,
  usualPorts: [27_017],
  startTimeoutMs: 120_000,
  stopSignal: "SIGTERM",
  prepare: async (site) => {
    mkdirSync(dataDirectory(site), { recursive: true });
  },
  commands: (site) => [
    {
      argv: [
        join(cacheDirectory(), FOLDER, "ferretdb"),
        `127.0.0.1:${clientPort(site)}`,
        dataDirectory(site),
      ],
    },
  ],
  isReady: (site) => askMongo(clientPort(site)),
  url,
  variables: (site) => ({ SHOPSTREAM_MONGODB_URL: url(site) }),
};

function url(site: Site): string {
  return `mongodb://127.0.0.1:${clientPort(site)}/shopstream`;
}

function dataDirectory(site: Site): string {
  return join(site.directory, "sqlite");
}
