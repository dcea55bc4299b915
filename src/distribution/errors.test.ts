import { describe, expect, test } from "bun:test";
import { kindOf, messageOf } from "../lib/errors.ts";
import { parseReference } from "../oci/reference.ts";
import { answerError, connectionError, pullError } from "./errors.ts";

const answer = (status: number, body: unknown, headers: Record<string, string> = {}): ReturnType<typeof answerError> =>
  answerError({
    method: "GET",
    url: "https://r/v2/x/manifests/1",
    status,
    headers: new Headers(headers),
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
const coded = (code: string, message: string): object => ({ errors: [{ code, message }] });

describe("what a pull tells, as Docker words it", () => {
  const rows: [status: number, body: unknown, headers: Record<string, string>, kind: string, text: string][] = [
    [404, coded("MANIFEST_UNKNOWN", "manifest unknown"), {}, "notFound", "manifest for busybox:9 not found: manifest unknown: manifest unknown"],
    [
      404,
      coded("NAME_UNKNOWN", "repository name not known to registry"),
      {},
      "notFound",
      "repository busybox not found: name unknown: repository name not known to registry",
    ],
    [403, coded("DENIED", "no"), {}, "notFound", "pull access denied for busybox, repository does not exist or may require 'docker login': denied: no"],
    [
      401,
      coded("UNAUTHORIZED", "authentication required"),
      { "www-authenticate": 'Bearer realm="https://a/t",error="insufficient_scope"' },
      "notFound",
      "pull access denied for busybox, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
    ],
    [401, coded("UNAUTHORIZED", "authentication required"), {}, "permissionDenied", "unauthorized: authentication required"],
    [401, { details: "incorrect username or password" }, {}, "permissionDenied", "unauthorized: incorrect username or password"],
    [
      429,
      coded("TOOMANYREQUESTS", "You have reached your pull rate limit. You may increase it: https://www.docker.com/increase-rate-limit"),
      { "ratelimit-limit": "100;w=21600" },
      "unavailable",
      "toomanyrequests: You have reached your pull rate limit. You may increase it: https://www.docker.com/increase-rate-limit: r limits how much may be pulled " +
        "(100 pulls in 6 hours); wait some hours, log in to r with an account that may pull more ('docker login'), or name a mirror in daemon.json",
    ],
    [429, "slow down", {}, "unavailable", "toomanyrequests: too many requests: r limits how much may be pulled; wait a moment and try again"],
    [429, "", { "retry-after": "300" }, "unavailable", "toomanyrequests: too many requests: r limits how much may be pulled; wait 5 minutes and try again"],
    [500, "<html>", {}, "unavailable", 'Get "https://r/v2/x/manifests/1": received unexpected HTTP status: 500 Internal Server Error'],
    [
      404,
      "<html>",
      {},
      "notFound",
      'manifest for busybox:9 not found: manifest unknown: Get "https://r/v2/x/manifests/1": received unexpected HTTP status: 404 Not Found',
    ],
    [418, coded("x\ny", "z"), {}, "unavailable", 'Get "https://r/v2/x/manifests/1": received unexpected HTTP status: 418'],
    [
      403,
      coded("DENIED", "\u001b[31mred\nline"),
      {},
      "notFound",
      "pull access denied for busybox, repository does not exist or may require 'docker login': denied:  [31mred line",
    ],
  ];
  for (const [status, body, headers, kind, text] of rows) {
    test(text.slice(0, 70), () => {
      const error = pullError(answer(status, body, headers), parseReference("busybox:9"));
      expect(messageOf(error)).toBe(text);
      expect(kindOf(error)).toBe(kind as never);
    });
  }
});

test("what may be tried again", () => {
  for (const status of [429, 500, 502, 503, 504]) expect(answer(status, "").temporary).toBe(true);
  for (const status of [400, 401, 403, 404, 501]) expect(answer(status, "").temporary).toBe(false);
  // a quota lasts for hours
  expect(answer(429, coded("TOOMANYREQUESTS", "You have reached your pull rate limit.")).temporary).toBe(false);
  expect(answer(429, "", { "retry-after": "7" }).retryAfter).toBe(7);
  expect(answer(429, "", { "retry-after": "Wed, 21 Oct 2015 07:28:00 GMT" }).retryAfter).toBeUndefined();
  expect(answer(503, "", { "retry-after": new Date(Date.now() + 90_000).toUTCString() }).retryAfter).toBeOneOf([89, 90, 91]);
  for (const bad of ["soon", "-1", "9999999", "GMT", " GMT"]) expect(answer(429, "", { "retry-after": bad }).retryAfter).toBeUndefined();
});

test("connections that fail", () => {
  expect(connectionError("GET", "https://r:5000/v2/", { code: "ECONNREFUSED" }).message).toBe(
    'Get "https://r:5000/v2/": dial tcp r:5000: connect: connection refused',
  );
  expect(connectionError("HEAD", "https://r/v2/", { code: "ENOTFOUND" }).message).toBe('Head "https://r/v2/": dial tcp: lookup r: no such host');
  expect(connectionError("GET", "https://r/v2/", { code: "SELF_SIGNED_CERT_IN_CHAIN" }).message).toContain(
    "x509: certificate signed by unknown authority (a registry's own CA belongs into /etc/berth/certs.d/REGISTRY/ca.crt",
  );
  expect(connectionError("GET", "https://r/v2/", new Error("odd")).message).toBe('Get "https://r/v2/": odd');
});
