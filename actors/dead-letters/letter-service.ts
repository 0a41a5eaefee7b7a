/**
 * Puts dead letters back or discards them, on the word of an operator.
 *
 * Taking a letter out, publishing its frame and telling the audit is one transaction that fails
 * when the letter is gone: of two who redrive it at once, one does, the other is told `missing`.
 * So is whoever repeats a command that was carried out: it changes nothing. Refuses a command
 * that waited past its deadline, and a letter that cannot be routed, which stays.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { CommandReply, LetterResult } from "../contracts/order-state.ts";
import type { Cause } from "../delivery/decode-message.ts";
import type { Store } from "../stores/unit-of-work.ts";
import type { DeadLetterReads, KeptLetter } from "./letter-port.ts";
import type { LetterCommand } from "./letter-unit.ts";

import { describeError, isShopError, ShopError } from "../../runtime/errors.ts";
import { letterUnit } from "./letter-unit.ts";

/** Bytes of letters that one unit takes out; it takes at least one, whatever its size. */
const UNIT_BYTES_MAX = 512 * 1024;
/** Times in a row that a unit is made anew because somebody else took one of its letters. */
const REDOS_MAX = 8;

export interface LetterServiceOptions {
  readonly store: Pick<Store, "commit">;
  readonly environment: Environment;
  readonly slots: number;
  readonly letters: Pick<DeadLetterReads, "letter">;
}

export interface LetterService {
  /**
   * Answers with what became of each letter. Letters without a result were not reached, and are to
   * be asked for again: storage gave out half-way, or the deadline passed.
   */
  command(
    command: LetterCommand,
    origin: { readonly cause: Cause; readonly deadlineMs: number },
  ): Promise<CommandReply>;
}

export function createLetterService(options: LetterServiceOptions): LetterService {
  const { store, environment, slots } = options;

  /** One unit for the first of `ids`; `again` when it is to be made anew. */
  async function step(
    command: LetterCommand,
    ids: readonly number[],
    lettersMax: number,
    cause: Cause,
  ): Promise<Step> {
    const { kept, missing } = await load(options.letters, ids, lettersMax);
    const { unit, results } = letterUnit(command, kept, { environment, slots, cause });
    const done = [...results, ...missing.map((id) => ({ id, result: "missing" }) as const)];
    if (unit.deadLettersRemoved.length === 0) return { kind: "done", results: done };
    try {
      const { kind } = await store.commit(unit, []);
      return kind === "committed" ? { kind: "done", results: done } : { kind: "again", lettersMax };
    } catch (error) {
      if (!isShopError(error) || error.retry === "later") throw error;
      // The store refuses the unit for one of its letters: a topic or slot that is no more.
      if (kept.length > 1) return { kind: "again", lettersMax: 1 };
      const detail = describeError(error);
      const refusals = kept.map(({ id }) => ({ id, result: "refused", detail }) as const);
      return { kind: "done", results: [...refusals, ...done.slice(kept.length)] };
    }
  }

  async function run(
    command: LetterCommand,
    cause: Cause,
    isLate: () => boolean,
    results: LetterResult[],
  ): Promise<void> {
    let rest: readonly number[] = [...new Set(command.ids)];
    let lettersMax = rest.length;
    let redos = 0;
    while (rest.length > 0 && !(isLate() && results.length > 0)) {
      const made = await step(command, rest, lettersMax, cause);
      if (made.kind === "done") {
        results.push(...made.results);
        rest = rest.slice(made.results.length);
        redos = 0;
        continue;
      }
      lettersMax = made.lettersMax;
      if (++redos > REDOS_MAX) {
        throw new ShopError("VERSION_CONFLICT", "others keep taking these letters", "later");
      }
    }
  }

  return {
    async command(command, { cause, deadlineMs }) {
      const isLate = (): boolean => deadlineMs !== 0 && environment.nowMs() > deadlineMs;
      if (isLate()) return refused("expired", "the command waited past its deadline");
      const results: LetterResult[] = [];
      try {
        await run(command, cause, isLate, results);
      } catch (error) {
        if (!isShopError(error)) throw error;
        const code = error.retry === "later" ? "storage_unavailable" : "failed";
        if (results.length === 0) return refused(code, describeError(error));
      }
      return { kind: "letters", results };
    },
  };
}

type Step =
  | { readonly kind: "done"; readonly results: readonly LetterResult[] }
  | { readonly kind: "again"; readonly lettersMax: number };

/** The first of `ids`, as many as fit into one unit, and which of them are not there. */
async function load(
  letters: Pick<DeadLetterReads, "letter">,
  ids: readonly number[],
  lettersMax: number,
): Promise<{ readonly kept: readonly KeptLetter[]; readonly missing: readonly number[] }> {
  const kept: KeptLetter[] = [];
  const missing: number[] = [];
  let bytes = 0;
  for (const id of ids) {
    const letter = await letters.letter(id);
    if (letter === undefined) {
      missing.push(id);
      continue;
    }
    bytes += letter.bytes.byteLength;
    if (kept.length > 0 && (kept.length >= lettersMax || bytes > UNIT_BYTES_MAX)) break;
    kept.push(letter);
  }
  return { kept, missing };
}

type RefusalCode = Extract<CommandReply, { kind: "refused" }>["code"];

function refused(code: RefusalCode, detail: string): CommandReply {
  return { kind: "refused", code, detail };
}
