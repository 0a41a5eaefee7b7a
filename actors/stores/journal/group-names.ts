/**
 * Which groups stand for the readers of feeds, and which have nobody: by their names alone.
 *
 * Consumer groups and feeds share the table of positions; no consumer group may be called like a
 * feed.
 */

const FEED_PREFIX = "view.";

/** The group that stands for the feed `name`. */
export function feedGroup(name: string): string {
  return `${FEED_PREFIX}${name}`;
}

/** Name of the feed that `group` stands for; `undefined` for a consumer group. */
export function feedOfGroup(group: string): string | undefined {
  return group.startsWith(FEED_PREFIX) ? group.slice(FEED_PREFIX.length) : undefined;
}

/** Consumer groups without a member; readers of feeds are kept or forgotten by `keepFeeds`. */
export function absentGroups(
  groups: readonly string[],
  attended: ReadonlySet<string>,
): readonly string[] {
  return groups.filter((group) => !attended.has(group) && feedOfGroup(group) === undefined);
}
