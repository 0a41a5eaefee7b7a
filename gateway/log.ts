/**
 * The log of the process: lines on standard error, as text for people or as JSON for collectors.
 *
 * Standard output is left to what a command is asked for. Levels below the configured one cost a
 * comparison.
 */

import type { Logger, LogLevel, TextFormatter } from "@logtape/logtape";

import {
  configureSync,
  getLogger,
  getStreamSink,
  jsonLinesFormatter,
  getTextFormatter,
} from "@logtape/logtape";

const CATEGORY = "shopstream";

/** Replaces an earlier configuration. */
export function configureLog(level: LogLevel, format: "text" | "json"): Logger {
  const formatter: TextFormatter =
    format === "json" ? jsonLinesFormatter : getTextFormatter({ timestamp: "time" });
  const write = new WritableStream<Uint8Array>({
    write(chunk) {
      process.stderr.write(chunk);
    },
  });
  configureSync({
    reset: true,
    sinks: { stderr: getStreamSink(write, { formatter }) },
    loggers: [
      { category: CATEGORY, lowestLevel: level, sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["stderr"] },
    ],
  });
  return getLogger(CATEGORY);
}
