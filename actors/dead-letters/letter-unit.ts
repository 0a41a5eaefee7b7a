/**
 * What acting on dead letters becomes in the store: one unit of work.
 *
 * Each letter is taken out, what is put back goes to its topic, and the audit is told, all in one
 * transaction. A letter that cannot be put back (its bytes are no frame, or are damaged) is
 * refused and stays where it is; everything can be discarded. Pure: no clock but the one given,
 * no storage.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Outgoing } from "../brokers/broker.ts";
import type { CommandOf, EventOf } from "../contracts/messages.ts";
import type { LetterResult } from "../contracts/order-state.ts";
import type { Cause } from "../delivery/decode-message.ts";
import type { UnitOfWork } from "../stores/unit-of-work.ts";
import type { KeptLetter } from "./letter-port.ts";

import { describeError, isShopError } from "../../runtime/errors.ts";
import { encodeEvent } from "../delivery/decode-message.ts";
import { redrivenFrame } from "../delivery/redrive.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";

/** Characters of a burial's reason that the audit is told. */
const REASON_CHARS_MAX = 500;

export type LetterCommand = CommandOf<"deadletter.redrive" | "deadletter.discard">;

export interface LetterTerms {
  readonly environment: Pick<Environment, "newId" | "nowMs">;
  readonly slots: number;
  /** Names the operator's request: the audit finds it by its correlation id. */
  readonly cause: Cause;
}

export interface LetterUnit {
  /** Empty when every letter is refused: there is nothing to commit. */
  readonly unit: UnitOfWork;
  /** What is true once the unit is committed; one for each letter, in their order. */
  readonly results: readonly LetterResult[];
}

/** `command` carried out on `letters`, of which there are some or none. */
export function letterUnit(
  command: LetterCommand,
  letters: readonly KeptLetter[],
  terms: LetterTerms,
): LetterUnit {
  const outgoing: Outgoing[] = [];
  const deadLettersRemoved: number[] = [];
  const results = letters.map((letter): LetterResult => {
    const made = framesOf(command, letter, terms);
    if ("refused" in made) return { id: letter.id, result: "refused", detail: made.refused };
    outgoing.push(...made.frames);
    deadLettersRemoved.push(letter.id);
    const result = command.type === "deadletter.redrive" ? "redriven" : "discarded";
    return { id: letter.id, result };
  });
  return { unit: { ...EMPTY_UNIT, outgoing, deadLettersRemoved }, results };
}

function framesOf(
  command: LetterCommand,
  letter: KeptLetter,
  { environment, slots, cause }: LetterTerms,
): { readonly frames: readonly Outgoing[] } | { readonly refused: string } {
  if (command.type === "deadletter.redrive" && letter.damage !== undefined) {
    return { refused: letter.damage };
  }
  try {
    const audited = encodeEvent(eventOf(command, letter), { environment, slots, cause });
    const back = command.type === "deadletter.redrive" ? [redrivenFrame(letter)] : [];
    return { frames: [...back, audited] };
  } catch (error) {
    if (!isShopError(error)) throw error;
    return { refused: describeError(error) };
  }
}

function eventOf(
  command: LetterCommand,
  { id, group, topic, partition, sequence, burial }: KeptLetter,
): EventOf<"deadletter.redriven" | "deadletter.discarded"> {
  const reason = burial.reason.slice(0, REASON_CHARS_MAX) || "none";
  const fields = { letterKey: `${id}`, group, topic, partition, sequence, reason };
  return command.type === "deadletter.redrive"
    ? { type: "deadletter.redriven", ...fields }
    : { type: "deadletter.discarded", ...fields, why: command.why };
}
