/**
 * Every recipe by its name, and why one cannot be followed on this machine.
 *
 * A name that is not in the list does not exist; who takes names from people says so to them.
 */

import { kafkaRecipe } from "./kafka-recipe.ts";
import { mongodbRecipe } from "./mongodb-recipe.ts";
import { whyUnmet } from "./needs.ts";
import { postgresRecipe } from "./postgres-recipe.ts";
import { prometheusRecipe } from "./prometheus-recipe.ts";
import { rabbitmqRecipe } from "./rabbitmq-recipe.ts";
import { redisRecipe } from "./redis-recipe.ts";
import { elasticsearchRecipe, opensearchRecipe } from "./search-recipes.ts";

import type { Recipe, ServiceName } from "./recipe.ts";

export const RECIPES: Readonly<Record<ServiceName, Recipe>> = {
  kafka: kafkaRecipe,
  redis: redisRecipe,
  rabbitmq: rabbitmqRecipe,
  postgres: postgresRecipe,
  mongodb: mongodbRecipe,
  elasticsearch: elasticsearchRecipe,
  opensearch: opensearchRecipe,
  prometheus: prometheusRecipe,
};

/** Why `name` cannot be started on this machine; undefined when it can. Synchronous and cheap. */
export function whyMissing(name: ServiceName): string | undefined {
  const reasons = RECIPES[name].needs.map(whyUnmet).filter((reason) => reason !== undefined);
  if (reasons.length === 0) return undefined;
  return `${reasons.join(", ")}; \`bun run services up ${name}\` installs what is missing`;
}
