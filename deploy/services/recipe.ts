/**
 * What a server is to the commands and tests here: how it is had, started, found ready and found.
 *
 * A recipe only describes; nothing in it starts a process that outlives the call. Recipes know one
 * machine and the loopback address, and refuse nothing: who uses them checks.
 */

export const SERVICE_NAMES = [
  "kafka",
  "redis",
  "rabbitmq",
  "postgres",
  "mongodb",
  "elasticsearch",
  "opensearch",
  "prometheus",
] as const;

export type ServiceName = (typeof SERVICE_NAMES)[number];

/** A server's own certificate and key, and who signed it. Absolute paths of files in PEM. */
export interface ServiceCertificate {
  readonly certificatePath: string;
  readonly keyPath: string;
  /** For a server that is a client of its own, as Kafka is. */
  readonly authorityPath: string;
}

export interface ServiceOptions {
  /** Asked of clients: of the only user of Redis, and of the user `shopstream` of the others. */
  readonly password?: string;
  /** Of Kafka with a password: others, by name, with theirs. They may do nothing until allowed. */
  readonly users?: Readonly<Record<string, string>>;
  /** Of Kafka. Default 1. */
  readonly brokers?: 1 | 3;
  /** Settings of the server's own, by its own names; they win over the recipe's. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Clients are heard by TLS alone. Not of the search servers, which have none of their own. */
  readonly tls?: ServiceCertificate;
  /** Of Kafka: half the work at every start, for less speed later. */
  readonly startsFast?: boolean;
}

/** Where one instance lives. All paths are absolute, all ports on the loopback address. */
export interface Site {
  readonly directory: string;
  readonly ports: readonly number[];
  readonly options: ServiceOptions;
}

export interface Command {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** One thing that must be on the machine, and where it comes from. */
export type Need =
  | { readonly kind: "program"; readonly paths: readonly string[]; readonly debian: string }
  | { readonly kind: "maven" | "go"; readonly folder: string; readonly source: string };

export interface Recipe {
  readonly name: ServiceName;
  /** For people: what is started natively. */
  readonly title: string;
  readonly needs: readonly Need[];
  /** How many ports an instance takes. */
  readonly portsPerProcess: number;
  /** The ports of `services up`, when they are free; the first is the clients'. */
  readonly usualPorts: readonly number[];
  readonly startTimeoutMs: number;
  /** Asks a process to stop in order. */
  readonly stopSignal: "SIGTERM" | "SIGINT";
  /** Makes the data directory what it must be, once; called before every start. */
  prepare(site: Site): Promise<void>;
  /** One command per process of the instance. Each stays in the foreground. */
  commands(site: Site): readonly Command[];
  /** True when clients can use all of it. Never throws. */
  isReady(site: Site): Promise<boolean>;
  url(site: Site): string;
  /** What the shop calls it: names and values of environment variables. */
  variables(site: Site): Readonly<Record<string, string>>;
}

/** Clients are heard by TLS alone. */
export function isSecure({ options: { tls } }: Site): boolean {
  return tls !== undefined;
}

/** The port of the clients. */
export function clientPort(site: Site): number {
  return portAt(site, 0);
}

export function portAt(site: Site, index: number): number {
  const port = site.ports[index];
  if (port === undefined) throw new Error(`no port ${index} was set aside in ${site.directory}`);
  return port;
}
