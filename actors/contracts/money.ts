/**
 * Amounts: whole minor units (hundredths) inside, decimals with at most two places at the edge.
 *
 * Refuses anything that is not exactly a number of hundredths. A decimal with two places parses to
 * the double nearest to n/100, and division rounds to that same double, so the comparison below is
 * exact for every safe integer n.
 */

/** Largest amount of one order or line: 1,000,000,000.00; sums of lines stay safe integers. */
export const AMOUNT_MINOR_MAX = 100_000_000_000;

/** Minor units of `amountMajor`; `undefined` when it is out of range or has over two places. */
export function toMinor(amountMajor: number): number | undefined {
  const minor = Math.round(amountMajor * 100);
  if (!Number.isSafeInteger(minor) || Math.abs(minor) > AMOUNT_MINOR_MAX) return undefined;
  return minor / 100 === amountMajor ? minor : undefined;
}

/** The decimal text of `minor`, always with two places: 2000 → "20.00". */
export function toDecimal(minor: number): string {
  const sign = minor < 0 ? "-" : "";
  const digits = Math.abs(minor).toString().padStart(3, "0");
  return `${sign}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}
