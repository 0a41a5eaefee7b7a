/**
 * What would be installed on which machine, as commands; nothing is run.
 *
 * The machines are made up: with and without Debian's tools, root, and what is already there.
 */

import { describe, expect, test } from "bun:test";

import { planInstall } from "./install-plan.ts";
import { RECIPES } from "./recipes.ts";

import type { Machine } from "./install-plan.ts";
import type { Need, ServiceName } from "./recipe.ts";

const SCRATCH = "/scratch";

function machine(changes: Partial<Machine> = {}): Machine {
  return { isMet: () => false, has: () => true, isRoot: true, scratch: SCRATCH, ...changes };
}

function needsOf(...names: readonly ServiceName[]): readonly Need[] {
  return names.flatMap((name) => RECIPES[name].needs);
}

describe("planInstall", () => {
  test("plans nothing where nothing is missing", () => {
    expect(planInstall(needsOf("kafka", "redis"), machine({ isMet: () => true }))).toEqual([]);
  });

  test("installs all Debian packages at once, and before what needs them", () => {
    const steps = planInstall(needsOf("postgres", "redis", "kafka"), machine());
    expect(steps.map((step) => step.title)).toEqual([
      "Debian: apt-get update",
      "Debian: apt-get install default-jdk-headless maven postgresql-15 redis-server",
      "Maven Central: kafka-4.3.0",
    ]);
    expect(steps[1]?.env["DEBIAN_FRONTEND"]).toBe("noninteractive");
  });

  test("does not install Maven or Go where they are", () => {
    const isMet = (need: Need): boolean => need.kind === "program";
    const steps = planInstall(needsOf("kafka", "mongodb"), machine({ isMet }));
    expect(steps.map((step) => step.argv[0])).toEqual(["mvn", "go"]);
  });

  test("downloads beside the cache, and names where the whole must go", () => {
    const isMet = (need: Need): boolean => need.kind === "program";
    const [step] = planInstall(needsOf("elasticsearch"), machine({ isMet }));
    expect(step?.result?.from).toBe(`${SCRATCH}/elasticsearch-7.17.29`);
    expect(step?.result?.to).toEndWith("/elasticsearch-7.17.29");
    expect(step?.argv).toContain(`-DoutputDirectory=${SCRATCH}/elasticsearch-7.17.29/libs`);
  });

  test("asks sudo where it is not root, and refuses where there is none", () => {
    const steps = planInstall(needsOf("redis"), machine({ isRoot: false }));
    expect(steps.map((step) => step.argv[0])).toEqual(["sudo", "sudo"]);
    const bare = machine({ isRoot: false, has: (program) => program !== "sudo" });
    expect(() => planInstall(needsOf("redis"), bare)).toThrow("apt-get install redis-server");
  });

  test("refuses a machine that is no Debian, and names what it lacks", () => {
    const other = machine({ has: (program) => program !== "apt-get" });
    expect(() => planInstall(needsOf("redis"), other)).toThrow(
      "this machine has no apt-get: install what Debian calls redis-server by hand",
    );
  });
});
