/**
 * Times in requests: text of RFC 3339 to milliseconds since the epoch.
 *
 * The form is checked by whoever takes the text; refused here is what has the form and is no time,
 * such as the 30th of February, and what RFC 3339 cannot say in UTC.
 */

/** The last instant that has four digits for its year in UTC. */
export const INSTANT_MS_MAX = Date.parse("9999-12-31T23:59:59.999Z");

/** `undefined` for a time that does not exist, is before 1970 or, in UTC, after 9999. */
export function instantMs(text: string): number | undefined {
  const atMs = Date.parse(text);
  const isInRange = Number.isInteger(atMs) && atMs >= 0 && atMs <= INSTANT_MS_MAX;
  return isInRange && isOnCalendar(text) ? atMs : undefined;
}

/** `Date.parse` takes the 30th of February for the 2nd of March. */
export function isOnCalendar(text: string): boolean {
  const day = text.slice(0, "YYYY-MM-DD".length);
  const midnightMs = Date.parse(day);
  return !Number.isNaN(midnightMs) && new Date(midnightMs).toISOString().startsWith(day);
}
