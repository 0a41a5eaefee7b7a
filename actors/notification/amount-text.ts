/**
 * Amounts as a customer reads them: in the order's currency, by the customer's language.
 *
 * Amounts are hundredths of any currency here, so at most two places are shown, and currencies
 * that commonly have none show them only where they are not zero. Formatters are dear to make and
 * kept, up to a bound.
 */

const FORMATTERS_MAX = 256;

const formatters = new Map<string, Intl.NumberFormat>();

/** `currency` is a three-letter code, known or not. */
export function formatAmount(locale: string, amountMinor: number, currency: string): string {
  const isWhole = amountMinor % 100 === 0;
  const name = `${locale}/${currency}/${isWhole}`;
  let formatter = formatters.get(name);
  if (formatter === undefined) {
    if (formatters.size >= FORMATTERS_MAX) formatters.clear();
    formatter = newFormatter(locale, currency, isWhole);
    formatters.set(name, formatter);
  }
  return formatter.format(amountMinor / 100);
}

function newFormatter(locale: string, currency: string, isWhole: boolean): Intl.NumberFormat {
  const usual = new Intl.NumberFormat(locale, { style: "currency", currency });
  const places = usual.resolvedOptions().minimumFractionDigits ?? 2;
  const minimumFractionDigits = isWhole ? Math.min(2, places) : 2;
  const digits = { minimumFractionDigits, maximumFractionDigits: 2 };
  return new Intl.NumberFormat(locale, { style: "currency", currency, ...digits });
}
