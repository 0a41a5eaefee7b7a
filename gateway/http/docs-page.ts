/**
 * The API page: Swagger UI from the installed package, nothing from anywhere else.
 *
 * The content security policy lets a browser load from this origin only, so that neither a script,
 * a style, a font nor the document can come from elsewhere, whatever the package may try.
 */

import type { Route } from "./endpoint.ts";

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>ShopStream API</title>
    <link rel="icon" href="/docs/favicon.png" />
    <link rel="stylesheet" href="/docs/swagger-ui.css" />
  </head>
  <body>
    <div id="api"></div>
    <noscript>The document itself is at <a href="/openapi.json">/openapi.json</a>.</noscript>
    <script src="/docs/swagger-ui.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
`;

/** `validatorUrl: null`: otherwise the page sends its address to a public validator. */
const START = `SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
});
`;

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  // The bundle sets style attributes and inlines its icons.
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const PAGE_HEADERS = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};

/** The page, its script, and three files of the package. */
export function docsRoutes(documentJson: () => string): readonly Route[] {
  return [
    served("/docs", "text/html; charset=utf-8", () => PAGE, PAGE_HEADERS),
    served("/docs/start.js", "text/javascript; charset=utf-8", () => START),
    asset(
      "/docs/swagger-ui.js",
      "text/javascript; charset=utf-8",
      import.meta.resolve("swagger-ui-dist/swagger-ui-bundle.js"),
    ),
    asset(
      "/docs/swagger-ui.css",
      "text/css; charset=utf-8",
      import.meta.resolve("swagger-ui-dist/swagger-ui.css"),
    ),
    asset(
      "/docs/favicon.png",
      "image/png",
      import.meta.resolve("swagger-ui-dist/favicon-32x32.png"),
    ),
    served("/openapi.json", "application/json", documentJson),
  ];
}

function asset(path: string, type: string, fileUrl: string): Route {
  const onDisk = new URL(fileUrl);
  return served(path, type, () => Bun.file(onDisk), { "cache-control": "max-age=3600" });
}

function served(
  path: string,
  type: string,
  body: () => string | Blob,
  headers: Readonly<Record<string, string>> = {},
): Route {
  const endpoint = () => new Response(body(), { headers: { "content-type": type, ...headers } });
  return { method: "GET", path, admission: "always", endpoint };
}
