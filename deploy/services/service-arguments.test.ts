/**
 * The command line of `bun run services`: what is read, and how the rest is refused.
 *
 * Data in, data out; nothing is started.
 */

import { describe, expect, test } from "bun:test";

import { SERVICE_NAMES } from "./recipe.ts";
import { DEFAULT_NAMES, parseServiceArguments } from "./service-arguments.ts";

describe("parseServiceArguments", () => {
  test("takes names once each, and flags wherever they stand", () => {
    expect(parseServiceArguments(["--yes", "up", "redis", "kafka", "redis", "--json"])).toEqual({
      act: "up",
      names: ["redis", "kafka"],
      yes: true,
      json: true,
    });
  });

  test("without names starts all but OpenSearch, and lists and stops all", () => {
    expect(parseServiceArguments(["up"]).names).toEqual(DEFAULT_NAMES);
    expect(DEFAULT_NAMES).not.toContain("opensearch");
    expect(parseServiceArguments(["down"]).names).toEqual(SERVICE_NAMES);
    expect(parseServiceArguments(["status"]).names).toEqual(SERVICE_NAMES);
  });

  test.each([
    [["up", "reddis"], 'unknown service "reddis"', "did you mean redis?"],
    [["up", "postgresql"], 'unknown service "postgresql"', "did you mean postgres?"],
    [["up", "x"], 'unknown service "x"', "allowed is kafka, redis"],
    [["start"], 'unknown command "start"', "allowed is up, down, status"],
    [[], "no command", "usage: bun run services"],
    [["up", "--yess"], 'unknown flag "--yess"', "did you mean --yes?"],
  ])("refuses %j and says what would be right", (argv, ...parts) => {
    for (const part of parts) expect(() => parseServiceArguments(argv)).toThrow(part);
  });
});
