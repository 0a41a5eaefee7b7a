/**
 * Elasticsearch 7.17 and OpenSearch 2.19 from the jars of Maven Central, one node each.
 *
 * Java starts a small main of ours from its source. No security, no plugins: neither a password nor
 * TLS is asked for, whatever the options say.
 */

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { askHttp } from "./ask-server.ts";
import { cacheDirectory, DEBIAN_PROGRAMS } from "./needs.ts";
import { clientPort, portAt } from "./recipe.ts";

import type { Recipe, Site } from "./recipe.ts";

/**
 * No second compiler: over the first fifty thousand documents it takes two thirds of the server's
 * CPU, and a test or a bench rarely stores more. For months of work the default is better, which
 * `compose.yaml` has.
 */
const COMPILER = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
const HEALTH = "/_cluster/health?wait_for_status=yellow&timeout=1s";

export const elasticsearchRecipe = searchRecipe({
  name: "elasticsearch",
  title: "Elasticsearch 7.17.29",
  folder: "elasticsearch-7.17.29",
  main: "ElasticsearchMain.java",
  usualPorts: [9200, 9300],
});

export const opensearchRecipe = searchRecipe({
  name: "opensearch",
  title: "OpenSearch 2.19.1",
  folder: "opensearch-2.19.1",
  main: "OpenSearchMain.java",
  usualPorts: [9201, 9301],
});

interface SearchServer {
  readonly name: "elasticsearch" | "opensearch";
  readonly title: string;
  readonly folder: string;
  readonly main: string;
  readonly usualPorts: readonly number[];
}

function searchRecipe(server: SearchServer): Recipe {
  return {
    name: server.name,
    title: server.title,
    needs: [DEBIAN_PROGRAMS.java, { kind: "maven", folder: server.folder, source: server.name }],
    portsPerProcess: 2,
    usualPorts: server.usualPorts,
    startTimeoutMs: 180_000,
    stopSignal: "SIGTERM",
    prepare: async (site) => {
      mkdirSync(site.directory, { recursive: true });
    },
    commands: (site) => [
      {
        argv: [
          "java",
          ...COMPILER,
          "-Xms256m",
          "-Xmx768m",
          "-cp",
          join(cacheDirectory(), server.folder, "libs", "*"),
          join(import.meta.dir, server.name, server.main),
          join(site.directory, "home"),
          String(portAt(site, 0)),
          String(portAt(site, 1)),
        ],
      },
    ],
    isReady: (site) => askHttp(clientPort(site), HEALTH),
    url,
    variables: (site) => ({ SHOPSTREAM_ELASTICSEARCH_URL: url(site) }),
  };
}

function url(site: Site): string {
  return `http://127.0.0.1:${clientPort(site)}`;
}
