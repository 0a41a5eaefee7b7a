/**
 * The lines that a container engine is given, and when it is chosen; no engine is asked.
 *
 * That `compose.yaml` has what these lines name is in `deployment.int.test.ts`.
 */

import { describe, expect, test } from "bun:test";

import { chooseEngine, composeCommand } from "./compose-engine.ts";

function lineOf(...args: Parameters<typeof composeCommand>): string {
  const [docker, compose, flag, path, ...rest] = composeCommand(...args);
  expect([docker, compose, flag]).toEqual(["docker", "compose", "--file"]);
  expect(path).toEndWith("/compose.yaml");
  return rest.join(" ");
}

describe("composeCommand", () => {
  test("starts exactly the named services, and waits until they are healthy", () => {
    expect(lineOf("up", ["kafka", "redis"])).toBe(
      "--profile kafka --profile redis up --detach --wait kafka redis",
    );
  });

  test("stops the named services and removes nothing", () => {
    expect(lineOf("down", ["postgres"])).toBe("--profile postgres stop postgres");
  });

  test("lists the named services, stopped ones too", () => {
    expect(lineOf("status", ["redis"])).toStartWith("--profile redis ps --all");
    expect(lineOf("status", ["redis"])).toEndWith(" redis");
  });
});

describe("chooseEngine", () => {
  test("uses Docker where an engine answers, and the machine itself where none does", () => {
    expect(chooseEngine(undefined, () => true)).toBe("docker");
    expect(chooseEngine("", () => false)).toBe("native");
  });

  test("does as it is told without asking", () => {
    const mustNotAsk = (): boolean => {
      throw new Error("asked");
    };
    expect(chooseEngine("native", mustNotAsk)).toBe("native");
    expect(chooseEngine("docker", mustNotAsk)).toBe("docker");
  });

  test("refuses an engine that it does not know", () => {
    expect(() => chooseEngine("podman", () => true)).toThrow("allowed is docker or native");
  });
});
