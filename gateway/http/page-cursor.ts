/**
 * The opaque cursor of a list: where the page before ended.
 *
 * Base64url of `<createdAtMs>:<key>`. Refuses anything that this API cannot have given out.
 */

export interface PagePosition {
  readonly createdAtMs: number;
  readonly key: string;
}

const FORM = /^(0|[1-9][0-9]{0,15}):(.{1,128})$/s;

export function encodeCursor({ createdAtMs, key }: PagePosition): string {
  return Buffer.from(`${createdAtMs}:${key}`, "utf8").toString("base64url");
}

/** `undefined` when `cursor` is not one of ours. */
export function decodeCursor(cursor: string): PagePosition | undefined {
  const text = Buffer.from(cursor, "base64url").toString("utf8");
  const [, createdAtText, key] = FORM.exec(text) ?? [];
  if (createdAtText === undefined || key === undefined) return undefined;
  const position = { createdAtMs: Number(createdAtText), key };
  // Base64 has many spellings of one text; only our own is taken.
  return encodeCursor(position) === cursor ? position : undefined;
}
