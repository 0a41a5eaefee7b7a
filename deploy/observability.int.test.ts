/**
 * What is watched exists: every metric of the alerts and the dashboard is one that a shop shows.
 *
 * The shop is started and asked for `/metrics`; `promtool` checks rules and configurations where it
 * is installed. That Grafana shows the dashboard is not proved here.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { requireOrSkip } from "../runtime/testing/requirements.ts";

const TIMEOUT_MS = 60_000;
const PROMETHEUS = join(import.meta.dir, "prometheus");
const GRAFANA = join(import.meta.dir, "grafana");
const JSON_TYPE = { "content-type": "application/json" };
const ORDER = JSON.stringify({
  customerId: "ada",
  items: [{ productId: "moka-pot", quantity: 1, price: 25 }],
});
const NAMES = /\b(?:shopstream|process)_[a-z_]+\b/g;

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly datasource?: { readonly uid: string };
  readonly gridPos: Readonly<Record<"x" | "y" | "w" | "h", number>>;
  readonly targets?: readonly { readonly expr: string }[];
}

interface Dashboard {
  readonly uid: string;
  readonly panels: readonly Panel[];
}

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly {
      readonly alert: string;
      readonly expr: string;
      readonly labels: { readonly severity: string };
      readonly annotations: { readonly summary: string };
    }[];
  }[];
}

// The shapes that these tests are about; a missing field fails where it is looked at.
const dashboard = JSON.parse(read(GRAFANA, "dashboards/shopstream.json")) as Dashboard;
const rules = (Bun.YAML.parse(read(PROMETHEUS, "alerts.yml")) as Rules).groups[0]?.rules ?? [];

const directory = mkdtempSync(join(tmpdir(), "shopstream-watched-"));
let shown: ReadonlySet<string> = new Set();

function read(folder: string, path: string): string {
  return readFileSync(join(folder, path), "utf8");
}

beforeAll(async () => {
  const main = join(import.meta.dir, "..", "gateway", "main.ts");
  const flags = ["--port", "0", "--data", directory];
  const shop = Bun.spawn([process.execPath, main, ...flags], { stdout: "pipe", stderr: "ignore" });
  let output = "";
  const decoder = new TextDecoder();
  for await (const chunk of shop.stdout) {
    output += decoder.decode(chunk, { stream: true });
    const base = /http:\/\/127\.0\.0\.1:\d+/.exec(output)?.[0];
    if (base === undefined) continue;
    await fetch(`${base}/v1/orders`, { method: "POST", headers: JSON_TYPE, body: ORDER });
    // A series begins with its first count; the money of an order is the last to come.
    while (!shown.has("shopstream_revenue_total")) {
      const text = await (await fetch(`${base}/metrics`)).text();
      shown = new Set(text.match(NAMES));
    }
    break;
  }
  shop.kill();
  await shop.exited;
}, TIMEOUT_MS);

afterAll(() => rmSync(directory, { recursive: true, force: true }));

function unknownIn(expression: string): readonly string[] {
  return (expression.match(NAMES) ?? []).filter((name) => !shown.has(name));
}

describe("the dashboard", () => {
  test("asks only for metrics that the shop shows", () => {
    expect(shown.size).toBeGreaterThan(30);
    const expressions = dashboard.panels.flatMap((panel) => panel.targets ?? []);
    expect(expressions.length).toBeGreaterThan(20);
    for (const { expr } of expressions) expect([expr, unknownIn(expr)]).toEqual([expr, []]);
  });

  test("uses the data source that is provisioned, and no place twice", () => {
    const source = read(GRAFANA, "provisioning/datasources/prometheus.yml");
    const taken = new Set<string>();
    for (const panel of dashboard.panels) {
      const { x, y, w, h } = panel.gridPos;
      expect(x + w).toBeLessThanOrEqual(24);
      for (let row = y; row < y + h; row++) {
        for (let column = x; column < x + w; column++) {
          const place = `${column}/${row}`;
          expect([panel.title, taken.has(place)]).toEqual([panel.title, false]);
          taken.add(place);
        }
      }
      if (panel.type === "row") continue;
      expect(source).toContain(`uid: ${panel.datasource?.uid ?? "?"}\n`);
    }
    expect(new Set(dashboard.panels.map((panel) => panel.id)).size).toBe(dashboard.panels.length);
  });
});

describe("the alerts", () => {
  test("ask only for metrics that the shop shows", () => {
    expect(rules.length).toBeGreaterThan(10);
    for (const { alert, expr } of rules) expect([alert, unknownIn(expr)]).toEqual([alert, []]);
  });

  test("say what is wrong, and whether anybody has to get up", () => {
    for (const rule of rules) {
      expect(rule.annotations.summary).not.toBe("");
      expect(["page", "ticket"]).toContain(rule.labels.severity);
    }
  });
});

const promtool = Bun.which("promtool");
const isThere = requireOrSkip("prometheus", promtool !== null, "promtool is not installed");

describe.skipIf(!isThere)("promtool", () => {
  test.each([
    ["check", "config", "prometheus.yml"],
    ["check", "config", "prometheus.native.yml"],
    ["check", "rules", "alerts.yml"],
    ["test", "rules", "alerts.test.yml"],
  ])("is content with %s %s %s", (act, what, path) => {
    const { exitCode, stdout, stderr } = Bun.spawnSync([promtool ?? "", act, what, path], {
      cwd: PROMETHEUS,
    });
    expect(`${exitCode} ${stderr.toString()}${stdout.toString()}`).toStartWith("0 ");
  });
});
