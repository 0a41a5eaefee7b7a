/**
 * `bun run services up|down|status [names] [--yes] [--json]`: servers for development.
 *
 * Addresses go to standard output as the shop's variables, everything for people to standard
 * error. Ends with 0 when all is as asked, with 1 when a server is not, with 2 on bad arguments.
 */

import { describeError, isShopError } from "../../runtime/errors.ts";
import {
  chooseEngine,
  COMPOSE_VARIABLES,
  composeCommand,
  hasDockerEngine,
} from "./compose-engine.ts";
import { installNeeds } from "./install.ts";
import { bringDown, bringUp, report } from "./native-services.ts";
import { dataDirectory } from "./needs.ts";
import { RECIPES } from "./recipes.ts";
import { parseServiceArguments } from "./service-arguments.ts";

import type { ServiceReport } from "./native-services.ts";
import type { ServiceArguments } from "./service-arguments.ts";

const tell = (line: string): void => console.error(line);

process.exitCode = await main();

async function main(): Promise<number> {
  try {
    const wanted = parseServiceArguments(process.argv.slice(2));
    const engine = chooseEngine(Bun.env["SHOPSTREAM_SERVICES_ENGINE"], hasDockerEngine);
    return engine === "docker" ? await byCompose(wanted) : await natively(wanted);
  } catch (error) {
    const isUsage = isShopError(error, "BAD_CONFIGURATION");
    tell(isShopError(error) ? `services: ${error.message}` : `services: ${describeError(error)}`);
    return isUsage ? 2 : 1;
  }
}

async function byCompose(wanted: ServiceArguments): Promise<number> {
  const child = Bun.spawn([...composeCommand(wanted.act, wanted.names)], {
    stdin: "ignore",
    // Its progress is for people; the table of `status` is too.
    stdout: 2,
    stderr: "inherit",
  });
  const exitCode = await child.exited;
  if (exitCode !== 0 || wanted.act === "down") return exitCode === 0 ? 0 : 1;
  const services = wanted.names.map((name) => ({ name, variables: COMPOSE_VARIABLES[name] }));
  printAddresses(services, wanted.json);
  return 0;
}

async function natively(wanted: ServiceArguments): Promise<number> {
  const root = dataDirectory();
  if (wanted.act === "up") return await up(wanted, root);
  if (wanted.act === "down") {
    for (const name of wanted.names) {
      if (await bringDown(root, name)) tell(`${name.padEnd(14)} stopped`);
    }
  }
  const reports = await Promise.all(wanted.names.map((name) => report(root, name)));
  if (wanted.act === "status") for (const each of reports) tell(describe(each));
  if (wanted.act === "status" || wanted.json) printAddresses(reports, wanted.json);
  return wanted.act === "status" && reports.some((each) => each.condition === "starting") ? 1 : 0;
}

async function up(wanted: ServiceArguments, root: string): Promise<number> {
  const needs = wanted.names.flatMap((name) => RECIPES[name].needs);
  await installNeeds(needs, { tell, confirm: (titles) => wanted.yes || mayInstall(titles) });
  const reports: ServiceReport[] = [];
  let exitCode = 0;
  // One after the other: each wants the whole machine while it starts.
  for (const name of wanted.names) {
    const startedMs = performance.now();
    tell(`${name.padEnd(14)} ${RECIPES[name].title} …`);
    try {
      const one = await bringUp(root, name);
      reports.push(one);
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
      tell(`${name.padEnd(14)} ready in ${seconds} s at ${one.url ?? ""}`);
    } catch (error) {
      exitCode = 1;
      tell(`${name.padEnd(14)} failed: ${describeError(error)}`);
    }
  }
  printAddresses(reports, wanted.json);
  return exitCode;
}

function mayInstall(titles: readonly string[]): boolean {
  if (!process.stdin.isTTY) return false;
  tell(`To be installed:\n${titles.map((title) => `  ${title}`).join("\n")}`);
  return /^y(es)?$/i.test(prompt("Install? [y/N]")?.trim() ?? "");
}

function describe(each: ServiceReport): string {
  const where =
    each.condition === "stopped" ? "" : ` at ${each.url ?? ""}, data in ${each.directory}`;
  return `${each.name.padEnd(14)} ${each.condition}${where}`;
}

function printAddresses(
  services: readonly { readonly variables: Readonly<Record<string, string>> }[],
  json: boolean,
): void {
  if (json) {
    console.log(JSON.stringify({ services }, null, 2));
    return;
  }
  for (const { variables } of services) {
    for (const [name, value] of Object.entries(variables)) console.log(`${name}=${value}`);
  }
}
