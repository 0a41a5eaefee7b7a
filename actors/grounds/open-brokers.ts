/**
 * Opens the message brokers that a thread uses, each with connections of its own.
 */

import type { BrokerName } from "./placement.ts";

/** What there is at a broker beside the journal. */
export interface BrokerLink {
  readonly name: BrokerName;
  readonly topics: readonly string[];
  /** Those of its topics that this shop takes in. */
  readonly ingressTopics: readonly string[];
}
