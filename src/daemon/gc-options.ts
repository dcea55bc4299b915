import { parseBytes } from "../lib/bytes.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import { parseDuration } from "../lib/time.ts";
import type { Amount, CacheRuleSetting } from "../system/collector.ts";

const day = 24 * 60 * 60 * 1000;
const none: Amount = { bytes: 0 };

/** dockerd's (moby: builder-next/worker/gc.go): nothing goes below a tenth of the disk; old steps first, and only where the disk gets full. */
export function defaultCacheRules(bounds: Pick<CacheRuleSetting, "reservedSpace" | "maxUsedSpace" | "minFreeSpace"> = tenths): CacheRuleSetting[] {
  return [60 * day, 0].map((unusedFor) => ({ all: false, unusedFor, filters: {}, ...bounds }));
}
const tenths = { reservedSpace: { percent: 10 }, maxUsedSpace: { percent: 80 }, minFreeSpace: { percent: 20 } };

/** `85%`, `50GB`; undefined for an empty text. @throws EngineError invalidArgument */
export function parseAmount(name: string, text: unknown): Amount | undefined {
  if (text === "" || text === undefined || text === null) return undefined;
  const percent = /^(\d{1,3}(?:\.\d+)?)%$/.exec(String(text))?.[1];
  if (percent !== undefined && Number(percent) > 0 && Number(percent) <= 100) return { percent: Number(percent) };
  const bytes = percent === undefined ? parseBytes(String(text)) : undefined;
  if (bytes === undefined) throw invalidArgument(`${name}: want a percentage such as 85%, or bytes such as 50GB, not ${JSON.stringify(text)}`);
  return { bytes };
}

/** Milliseconds of `24h`. @throws EngineError invalidArgument */
export function parseAge(name: string, text: string): number {
  const nano = parseDuration(text);
  if (nano === undefined || nano < 0n) throw invalidArgument(`${name}: want a duration such as 24h, not ${JSON.stringify(text)}`);
  return Number(nano / 1_000_000n);
}

/**
 * Low must lie below high, in the same measure. Without a low one, images go until a twentieth of the high one is free again.
 * @throws EngineError invalidArgument
 */
export function lowWatermark(high: Amount | undefined, low: Amount | undefined): Amount | undefined {
  if (high === undefined) {
    if (low !== undefined) throw invalidArgument("image-gc-low-watermark needs image-gc-high-watermark");
    return undefined;
  }
  const [measure, top] = "bytes" in high ? (["bytes", high.bytes] as const) : (["percent", high.percent] as const);
  if (low === undefined) return measure === "bytes" ? { bytes: Math.floor(top * 0.95) } : { percent: top * 0.95 };
  const bottom = (low as Partial<Record<typeof measure, number>>)[measure];
  if (bottom === undefined || bottom > top)
    throw invalidArgument("image-gc-low-watermark must not be above image-gc-high-watermark, and be of its kind: both percentages, or both bytes");
  return low;
}

type Fields = Record<string, unknown>;
const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);

/** daemon.json's `builder`: only its `gc` means something here. Fields as dockerd's reference has them, in any case. @throws EngineError invalidArgument */
export function builderGc(given: Fields): CacheRuleSetting[] {
  const { gc, ...others } = lowered(given);
  const [unknown] = Object.keys(others).filter((key) => key !== "entitlements" && key !== "history");
  if (unknown !== undefined) throw invalidArgument(`builder: unknown setting ${unknown}`);
  if (gc === undefined || gc === null) return defaultCacheRules();
  const fields = lowered(asFields(gc));
  const { enabled, policy } = fields;
  if (enabled !== undefined && typeof enabled !== "boolean") throw invalidArgument("builder.gc.enabled: want true or false");
  if (enabled === false) return [];
  if (policy !== undefined && policy !== null) {
    if (!Array.isArray(policy) || !policy.every(isFields)) throw invalidArgument("builder.gc.policy: want a list of objects");
    if (policy.length > 0) return policy.map((rule) => cacheRule(lowered(rule)));
  }
  const bounds = boundsOf(fields, "default");
  return Object.values(bounds).every((amount) => amount === none) ? defaultCacheRules() : defaultCacheRules(bounds);
}

/** The command line has it as JSON. */
function asFields(gc: unknown): Fields {
  let value = gc;
  try {
    if (typeof gc === "string") value = JSON.parse(gc) as unknown;
  } catch (error) {
    throw invalidArgument(`builder.gc: ${messageOf(error)}`, error);
  }
  if (!isFields(value)) throw invalidArgument("builder.gc: want an object");
  return value;
}

function cacheRule(rule: Fields): CacheRuleSetting {
  const filters: Record<string, string[]> = {};
  let unusedFor = 0;
  const given = rule["filter"] ?? [];
  if (!Array.isArray(given) || !given.every((each) => typeof each === "string")) throw invalidArgument("builder.gc.policy: want a list of texts as filter");
  for (const text of given as string[]) {
    const [, name = text, value = ""] = /^([^=~]+)[~=]{1,2}(.*)$/s.exec(text) ?? [];
    if (name === "unused-for" || name === "until") unusedFor = parseAge("builder.gc.policy: filter", value);
    else if (["id", "parent", "type", "description", "inuse", "shared", "private"].includes(name)) (filters[name] ??= []).push(value);
    else throw invalidArgument(`builder.gc.policy: unknown filter ${JSON.stringify(text)}`);
  }
  return { all: rule["all"] === true, unusedFor, filters, ...boundsOf(rule, "") };
}

function boundsOf(fields: Fields, prefix: "" | "default"): Pick<CacheRuleSetting, "reservedSpace" | "maxUsedSpace" | "minFreeSpace"> {
  const amount = (...names: string[]): Amount => {
    for (const name of names) {
      const found = parseAmount(`builder.gc: ${name}`, fields[`${prefix}${name}`]);
      if (found !== undefined) return found;
    }
    return none;
  };
  return { reservedSpace: amount("reservedspace", "keepstorage"), maxUsedSpace: amount("maxusedspace"), minFreeSpace: amount("minfreespace") };
}

function lowered(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key.toLowerCase(), value]));
}
