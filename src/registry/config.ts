import { z } from "zod";
import { parseBytes } from "../lib/bytes.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import { parseDuration } from "../lib/time.ts";

/** Milliseconds of a Go duration; a bare number is seconds. */
const duration = z.union([z.string(), z.number()]).transform((value, context) => {
  const nanos = typeof value === "number" ? BigInt(Math.round(value * 1e9)) : parseDuration(value);
  if (nanos !== undefined && nanos >= 0n) return Number(nanos / 1_000_000n);
  context.addIssue({ code: "custom", message: `invalid duration ${JSON.stringify(value)}: want 90s, 10m, 24h` });
  return z.NEVER;
});

const size = z.union([z.string(), z.number()]).transform((value, context) => {
  const bytes = typeof value === "number" ? value : parseBytes(value);
  if (bytes !== undefined && Number.isSafeInteger(bytes) && bytes >= 0) return bytes;
  context.addIssue({ code: "custom", message: `invalid size ${JSON.stringify(value)}: want 500MB, 20GB` });
  return z.NEVER;
});

const pattern = z.string().regex(/^[a-z0-9._/*-]{1,255}$/, "want a repository's name in which * stands for any characters but /, and ** for any");
const file = z.string().min(1);

const htpasswd = z.strictObject({
  path: file,
  realm: z.string().default("Berth registry"),
  /** What clients are asked for: the password with each request, or a token that the registry gives for it. */
  challenge: z.enum(["basic", "token"]).optional(),
  "token-lifetime": duration.default(5 * 60_000),
  "token-realm": z.url().optional(),
});

const token = z.strictObject({
  realm: z.url(),
  service: z.string().min(1),
  issuer: z.string().min(1),
  rootcertbundle: file.optional(),
  jwks: file.optional(),
});

const rule = z.strictObject({
  repositories: z.array(pattern).min(1),
  allow: z.array(z.enum(["pull", "push", "delete"])).min(1),
  users: z.array(z.string()).default([]),
  groups: z.array(z.string()).default([]),
  anonymous: z.boolean().default(false),
});

const schema = z.strictObject({
  addr: z.string().optional(),
  root: file.optional(),
  "log-level": z.enum(["debug", "info", "warn", "error"]).optional(),
  "metrics-addr": z.string().optional(),
  tls: z.strictObject({ cert: file, key: file }).optional(),
  auth: z
    .strictObject({ htpasswd: htpasswd.optional(), token: token.optional() })
    .refine((auth) => auth.htpasswd === undefined || auth.token === undefined, "want htpasswd or token, not both")
    .optional(),
  access: z
    .strictObject({ groups: z.record(z.string(), z.array(z.string())).default({}), rules: z.array(rule) })
    .superRefine(({ groups, rules }, context) => {
      for (const name of rules.flatMap((each) => each.groups)) {
        if (!Object.hasOwn(groups, name)) context.addIssue({ code: "custom", message: `there is no group ${JSON.stringify(name)}`, path: ["rules"] });
      }
    })
    .optional(),
  "read-only": z.boolean().default(false),
  gc: z
    .strictObject({
      /** 0: never by itself. */
      interval: duration.default(60 * 60_000),
      grace: duration.default(24 * 60 * 60_000),
      untagged: z.boolean().default(false),
    })
    .prefault({}),
  cache: z
    .strictObject({
      upstreams: z
        .array(
          z
            .strictObject({
              prefix: z
                .string()
                .regex(/^(?:[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)?$/, "want the beginning of repositories' names, such as ghcr")
                .default(""),
              registry: z.string().regex(/^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?$/, "want HOST or HOST:PORT, as in an image's name"),
              username: z.string().min(1).optional(),
              password: z.string().optional(),
              "password-file": file.optional(),
              /** Plain http, or any certificate. */
              insecure: z.boolean().default(false),
            })
            .refine((each) => each.password === undefined || each["password-file"] === undefined, "want password or password-file, not both"),
        )
        .default([])
        .refine((list) => new Set(list.map(({ prefix }) => prefix)).size === list.length, "two upstreams have the same prefix"),
      revalidate: duration.default(60_000),
      "max-size": size.optional(),
    })
    .prefault({}),
  quota: z
    .strictObject({
      total: size.optional(),
      repository: size.optional(),
      repositories: z.record(pattern, size).default({}),
    })
    .prefault({}),
});

/** A registry's settings as its file gives them, checked, with defaults. Durations are milliseconds, sizes bytes. */
export type RegistryConfig = z.output<typeof schema>;

/**
 * Reads YAML (JSON is YAML too); empty text gives the defaults. `over` has settings that win over the text's, one by one, under the same names.
 * @throws EngineError invalidArgument that names every setting that is no good
 */
export function parseRegistryConfig(text: string, over: Record<string, unknown> = {}): RegistryConfig {
  let document: unknown;
  try {
    document = Bun.YAML.parse(text) ?? {};
  } catch (error) {
    throw invalidArgument(`not YAML: ${messageOf(error)}`, error);
  }
  const parsed = schema.safeParse(isMap(document) ? merged(document, over) : document);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map(({ path, message }) => (path.length === 0 ? message : `${path.join(".")}: ${message}`));
  throw invalidArgument(issues.join("; "));
}

const isMap = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

function merged(below: Record<string, unknown>, over: Record<string, unknown>): Record<string, unknown> {
  const all = { ...below };
  for (const [key, value] of Object.entries(over)) {
    const before = all[key];
    all[key] = isMap(before) && isMap(value) ? merged(before, value) : value;
  }
  return all;
}
