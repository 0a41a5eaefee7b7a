/**
 * The reading side of the audit: its own read-only connection, for any thread.
 *
 * The file is opened when it is first needed; while there is none the audit is empty. Long work is
 * done in chunks with turns of the event loop between them. It refuses nothing that the bounds of a
 * query allow; what the disk does wrong is a `STORAGE_FAULT` or `DATA_DAMAGED`.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { AuditHead } from "./audit-chain.ts";
import type { AuditQuery } from "./audit-query.ts";
import type { AuditVerdict, VerifyRange } from "./audit-verify.ts";
import type { AuditView } from "./audit-view.ts";

import { Database } from "bun:sqlite";
import { existsSync } from "node:fs";

import { assert, ShopError } from "../../runtime/errors.ts";
import { BUSY_TIMEOUT_MS } from "../stores/journal/journal-limits.ts";
import { sqliteFailure } from "../stores/journal/sqlite-failure.ts";
import { auditPath, formatOf, readHead } from "./audit-database.ts";
import { auditFailure } from "./audit-failure.ts";
import { SEARCH_PAGE_MAX } from "./audit-limits.ts";
import { GENESIS_HASH } from "./audit-record.ts";
import { searchAudit } from "./audit-search.ts";
import { verifyChain } from "./audit-verify.ts";
import { viewOf } from "./audit-view.ts";

export interface AuditPage {
  readonly records: readonly AuditView[];
  /** Absent on the last page; a page before it may be short, or empty. */
  readonly nextBeforeSeq?: number;
  /** What was stored last may be missing: the index was not brought up to date. */
  readonly isStale?: true;
}

export interface AuditReads {
  head(): Promise<AuditHead>;
  search(query: AuditQuery): Promise<AuditPage>;
  verify(range: VerifyRange): Promise<AuditVerdict>;
  /** Idempotent. */
  close(): void;
}

export interface AuditReadsOptions {
  readonly directory: string;
  readonly environment: Pick<Environment, "monotonicMs" | "defer">;
}

/** Opens nothing yet. The methods reject with `STORAGE_FAULT`, `DATA_DAMAGED` or `CLOSED`. */
export function openAuditReads({ directory, environment }: AuditReadsOptions): AuditReads {
  let handle: Database | undefined;
  let isClosed = false;
  const turn = () => new Promise<void>((resolve) => environment.defer(resolve));

  function open(): Database | undefined {
    if (isClosed) throw new ShopError("CLOSED", "the reads of the audit are closed", "never");
    handle ??= openReadOnly(auditPath(directory));
    return handle;
  }

  /** What `work` gives, or `whenEmpty` when there is no audit yet. */
  async function read<T>(whenEmpty: T, work: (open: Database) => Promise<T> | T): Promise<T> {
    try {
      const opened = open();
      return opened === undefined ? whenEmpty : await work(opened);
    } catch (error) {
      // Whoever reads next opens the file anew; reads under way may still use this handle.
      if (sqliteFailure(error) !== undefined) handle = undefined;
      // A turn of the event loop may have brought the close.
      throw isClosed ? closedError() : auditFailure(error);
    }
  }

  return {
    head: () =>
      read(EMPTY_HEAD, (opened) => {
        const { count, hash } = readHead(opened);
        return { count, hash };
      }),
    search(query) {
      assert(query.limit >= 1 && query.limit <= SEARCH_PAGE_MAX, `a page of ${query.limit}`);
      return read<AuditPage>({ records: [] }, async (opened) => {
        const { count } = readHead(opened);
        const { records, ...next } = await searchAudit(opened, query, count, turn);
        return { records: records.map((record) => viewOf(record)), ...next };
      });
    },
    verify: (range) =>
      read<AuditVerdict>({ verified: 0, upToSeq: 0, head: EMPTY_HEAD }, (opened) =>
        verifyChain(opened, range, environment, turn),
      ),
    close() {
      isClosed = true;
      handle?.close(true);
      handle = undefined;
    },
  };
}

const EMPTY_HEAD: AuditHead = { count: 0, hash: GENESIS_HASH };

function closedError(): ShopError {
  return new ShopError("CLOSED", "the reads of the audit are closed", "never");
}

/** `undefined` while there is no file, or no table in it. */
function openReadOnly(path: string): Database | undefined {
  if (!existsSync(path)) return undefined;
  const handle = new Database(path, { readonly: true });
  handle.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  if (formatOf(handle) !== 0) return handle;
  handle.close(true);
  return undefined;
}
