/**
 * The endpoints around the order pipeline, each family with the ports it needs and no more.
 *
 * Adds nothing of its own: what an endpoint takes and refuses is in its own file.
 */

import { analyticsRoutes } from "./analytics-routes.ts";
import { auditRoutes } from "./audit-routes.ts";
import { deadLetterRoutes } from "./dead-letter-routes.ts";
import type { Route } from "./endpoint.ts";
import type { GatewayDeps } from "./gateway-ports.ts";
import { ledgerRoutes } from "./ledger-routes.ts";
import { notificationRoutes } from "./notification-routes.ts";

export function platformRoutes(deps: GatewayDeps): readonly Route[] {
  const { notifications, audit, analytics, letters, letterJobs, ledger } = deps.platform;
  return [
    ...notificationRoutes({ reads: deps.reads, notifications }),
    ...analyticsRoutes({ ...deps, analytics }),
    ...auditRoutes({ ...deps, audit }),
    ...deadLetterRoutes({ ...deps, letters, jobs: letterJobs }),
    ...ledgerRoutes({ ledger }),
  ];
}
