/**
 * Arrays as PostgreSQL reads them in text form.
 *
 * Made here and not by the client library, whose encoder escapes each element of every array twice
 * over; a batch carries thousands of elements. Refuses nothing: what cannot be stored (a NUL in a
 * text) was refused before, with the unit.
 */

/** Of numbers, UUIDs and other texts that need no quotes. */
export function plainArray(values: readonly (number | string)[]): string {
  return `{${values.join(",")}}`;
}

export function textArray(values: readonly string[]): string {
  if (values.length === 0) return "{}";
  return `{${values.map(quoted).join(",")}}`;
}

/** The numbers of an array of them, as the server writes it. */
export function parseNumbers(text: string): readonly number[] {
  return text.length <= 2 ? [] : text.slice(1, -1).split(",").map(Number);
}

function quoted(value: string): string {
  return `"${/["\\]/.test(value) ? value.replaceAll(/["\\]/g, String.raw`\$&`) : value}"`;
}
