/**
 * Prometheus from Debian with the scrape configuration and the alerts of `deploy/prometheus/`.
 *
 * Scrapes the shop at its default address on this machine. A password is not asked for.
 */

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { askHttp } from "./ask-server.ts";
import { clientPort } from "./recipe.ts";

import type { Recipe, Site } from "./recipe.ts";

export const prometheusRecipe: Recipe = {
  name: "prometheus",
  title: "Prometheus 2.42",
  needs: [{ kind: "program", paths: ["prometheus", "/usr/bin/prometheus"], debian: "prometheus" }],
  portsPerProcess: 1,
  usualPorts: [9090],
  startTimeoutMs: 120_000,
  stopSignal: "SIGTERM",
  prepare: async (site) => {
    mkdirSync(site.directory, { recursive: true });
  },
  commands: (site) => [
    {
      argv: [
        "prometheus",
        `--config.file=${join(import.meta.dir, "..", "prometheus", "prometheus.native.yml")}`,
        `--storage.tsdb.path=${join(site.directory, "tsdb")}`,
        `--web.listen-address=127.0.0.1:${clientPort(site)}`,
        "--log.level=warn",
      ],
    },
  ],
  isReady: (site) => askHttp(clientPort(site), "/-/ready"),
  url,
  // The shop does not know of it.
  variables: () => ({}),
};

function url(site: Site): string {
  return `http://127.0.0.1:${clientPort(site)}`;
}
