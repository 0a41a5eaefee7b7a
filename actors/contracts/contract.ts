/**
 * What a message contract is: one schema per command and event, with number, version and topic.
 *
 * The number goes into the frame's header, so that routing never decodes a payload. Numbers are
 * never reused; a change that old readers cannot take gets a new version and an upcaster.
 */

import type { Static, TSchema } from "@sinclair/typebox";

import { TypeCompiler } from "@sinclair/typebox/compiler";

import { assert, ShopError } from "../../runtime/errors.ts";

/** The field that a message is keyed by: what must not run side by side shares its value. */
export type KeyField = "orderId" | "productId" | "batchId" | "letterKey" | "shardKey";

export interface Contract<Name extends string = string, Schema extends TSchema = TSchema> {
  readonly type: Name;
  readonly number: number;
  readonly version: number;
  /** Where it is published; commands that are answered directly have none. */
  readonly topic: string | undefined;
  readonly keyField: KeyField;
  readonly schema: Schema;
  /** Throws `BAD_MESSAGE` naming the failing path unless `value` fits the schema. */
  check(value: unknown): Static<Schema>;
}

export function defineContract<const Name extends string, Schema extends TSchema>(definition: {
  readonly type: Name;
  readonly number: number;
  readonly version: number;
  readonly topic?: string;
  readonly keyField?: KeyField;
  readonly schema: Schema;
}): Contract<Name, Schema> {
  const compiled = TypeCompiler.Compile(definition.schema);
  return {
    ...definition,
    topic: definition.topic,
    keyField: definition.keyField ?? "orderId",
    check(value) {
      if (compiled.Check(value)) return value;
      const first = compiled.Errors(value).First();
      const where = first === undefined ? "" : ` at ${first.path || "/"}: ${first.message}`;
      throw new ShopError("BAD_MESSAGE", `${definition.type} does not fit${where}`, "never");
    },
  };
}

/** Version 1 of an event that is published on `topic`. */
export function eventContract<const Name extends string, Schema extends TSchema>(
  number: number,
  type: Name,
  topic: string,
  schema: Schema,
  keyField: KeyField = "orderId",
) {
  return defineContract({ type, number, version: 1, topic, keyField, schema });
}

/** Version 1 of a command, which is answered directly. */
export function commandContract<const Name extends string, Schema extends TSchema>(
  number: number,
  type: Name,
  schema: Schema,
  keyField: KeyField = "orderId",
) {
  return defineContract({ type, number, version: 1, keyField, schema });
}

/** The key of `message`, which fits `contract`. */
export function keyOfMessage(contract: Contract, message: object): string {
  const key: unknown = Reflect.get(message, contract.keyField);
  assert(typeof key === "string", `${contract.type} is keyed by ${contract.keyField}`);
  return key;
}
