/**
 * A RabbitMQ server for tests, and a way to make it believe that its disk is full.
 *
 * The alarm is raised by the server's own command, as an operator would. Refuses nothing; what the
 * command says on failure is thrown.
 */

import { readdirSync } from "node:fs";

import type { TestServer } from "../../../deploy/services/test-server.ts";
import type { RemoteServer } from "../../testing/remote-hooks.suite.ts";

import { startTestServer } from "../../../deploy/services/test-server.ts";
import { ShopError } from "../../../runtime/errors.ts";

const CONTROL = "/usr/lib/rabbitmq/bin/rabbitmqctl";

export function startRabbit(): Promise<TestServer> {
  return startTestServer("rabbitmq");
}

/** Resolves when the server has raised the alarm, or taken it back. */
export async function setServerFull(server: RemoteServer, on: boolean): Promise<void> {
  // More bytes than a disk has, or next to none.
  const limit = on ? "999999GB" : "1MB";
  await control(server, ["set_disk_free_limit", limit]);
  await control(server, ["eval", on ? awaitAlarms("[_ | _]") : awaitAlarms("[]")]);
}

export async function control(server: RemoteServer, command: readonly string[]): Promise<string> {
  if (!isTestServer(server)) throw new ShopError("BAD_CONFIGURATION", "no test server", "never");
  const port = server.address.split(":")[1] ?? "";
  const child = Bun.spawn([CONTROL, "-n", `shopstream-${port}@localhost`, ...command], {
    env: { ...process.env, HOME: server.directory, ...(await mapperOf(server)) },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, failure, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  if (code !== 0) throw new ShopError("SERVER_UNUSABLE", `rabbitmqctl: ${out}${failure}`, "never");
  return out;
}

function isTestServer(server: RemoteServer): server is TestServer {
  return "directory" in server;
}

/** The port of the server's own name service, which the command has to know. */
async function mapperOf(server: TestServer): Promise<Record<string, string>> {
  // Processes come and go while this looks.
  const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  for (const id of processes) {
    const text = await Bun.file(`/proc/${id}/environ`)
      .text()
      .catch(() => "");
    if (!text.includes(`HOME=${server.directory}`)) continue;
    const port = /ERL_EPMD_PORT=(\d+)/.exec(text)?.[1];
    if (port !== undefined) return { ERL_EPMD_PORT: port };
  }
  return {};
}

function awaitAlarms(pattern: string): string {
  return (
    "F = fun F(0) -> late; F(N) -> case rabbit_alarm:get_alarms() of " +
    `${pattern} -> ok; _ -> timer:sleep(50), F(N - 1) end end, F(200).`
  );
}
