/**
 * The log of the process: lines on standard error, as text for people or as JSON for collectors.
 *
 * Standard output is left to what a command is asked for. Levels below the configured one cost a
 * comparison.
 */

import type { Logger, LogLevel, Sink, TextFormatter } from "@logtape/logtape";

import { configureSync, getLogger, jsonLinesFormatter, getTextFormatter } from "@logtape/logtape";

const CATEGORY = "shopstream";

/** Replaces an earlier configuration. */
export function configureLog(level: LogLevel, format: "text" | "json"): Logger {
  const formatter: TextFormatter =
    format === "json" ? jsonLinesFormatter : getTextFormatter({ timestamp: "time", value: asText });
  const stderr: Sink = (record) => void process.stderr.write(formatter(record));
  configureSync({
    reset: true,
    sinks: { stderr },
    loggers: [
      { category: CATEGORY, lowestLevel: level, sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["stderr"] },
    ],
  });
  return getLogger(CATEGORY);
}

/** Text as it is: quotes around every name would only be in the way. */
function asText(value: unknown): string {
  return typeof value === "string" ? value : Bun.inspect(value);
}
