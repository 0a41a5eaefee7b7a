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
import { clientPort, isSecure } from "./recipe.ts";

import type { Recipe, Site } from "./recipe.ts";

/** The last word: what our own main knows beside it. */
const FOLDER = "ferretdb-1.24.2-tls";

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
        ...certificate(site),
      ],
    },
  ],
  isReady: (site) => askMongo(clientPort(site), isSecure(site)),
  url,
  variables: (site) => ({ SHOPSTREAM_MONGODB_URL: url(site) }),
};

function url(site: Site): string {
  const query = isSecure(site) ? "?tls=true" : "";
  return `mongodb://127.0.0.1:${clientPort(site)}/shopstream${query}`;
}

function certificate({ options: { tls } }: Site): readonly string[] {
  return tls === undefined ? [] : [tls.certificatePath, tls.keyPath];
}

function dataDirectory(site: Site): string {
  return join(site.directory, "sqlite");
}
