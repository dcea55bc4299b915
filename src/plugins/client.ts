import { closeSync, openSync, readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { EngineError, internal, messageOf, unavailable } from "../lib/errors.ts";
import { sleep } from "../lib/sleep.ts";
import type { PluginAddress } from "./discovery.ts";
import { type CallOptions, PluginError } from "./types.ts";

export interface PluginTimes {
  /** How long a call may take, unless it says otherwise: a driver that attaches a disk takes its time. */
  callMs: number;
  /** How long one tries to reach a plugin that isn't there. */
  retryMs: number;
}

/** Docker's: 30 s of retries. It has no deadline for an answer at all, so a plugin that hangs takes its requests with it; ours do end. */
export const defaultTimes: PluginTimes = { callMs: 120_000, retryMs: 30_000 };

/** A volume list may be long; whatever is longer isn't one. */
const answerBytes = 4 << 20;
/** What is shown of an error text. */
const errorChars = 2000;
const contentType = "application/vnd.docker.plugins.v1.2+json";

/** sun_path ends at 107 bytes. */
const longestSocketPath = 107;

/** One call, as moby makes it (pkg/plugins/client.go): POST, JSON both ways, an error is text or `{"Err": "…"}`. See Plugin.call. */
export async function callPlugin(
  name: string,
  address: PluginAddress,
  times: PluginTimes,
  method: string,
  request: unknown,
  { deadlineMs: asked = times.callMs, retry = true }: CallOptions = {},
): Promise<Record<string, unknown>> {
  const body = request === undefined ? "" : JSON.stringify(request);
  const deadlineMs = Math.min(asked, times.callMs);
  const started = performance.now();
  const signal = AbortSignal.timeout(deadlineMs);
  for (let wait = 1000; ; wait *= 2) {
    try {
      return await exchange(address, method, body, signal);
    } catch (error) {
      if (error instanceof EngineError) throw error;
      if (signal.aborted) throw unavailable(`${method}: plugin ${name} did not answer within ${deadlineMs / 1000} s`, error);
      const isOver = performance.now() - started + wait >= Math.min(times.retryMs, deadlineMs);
      if (!retry || isOver) throw unavailable(`${method}: plugin ${name} can't be reached at ${nameOf(address)}: ${messageOf(error)}`, error);
    }
    await sleep(wait, signal);
  }
}

const nameOf = (address: PluginAddress): string => (address.kind === "unix" ? address.path : address.url);

/** @throws EngineError internal for what the plugin answers; anything else is a failure to speak with it */
async function exchange(address: PluginAddress, method: string, body: string, signal: AbortSignal): Promise<Record<string, unknown>> {
  using where = target(address);
  const base = address.kind === "unix" ? "http://plugin.berth.localhost" : address.url;
  const response = await fetch(`${base}/${method}`, {
    method: "POST",
    body,
    headers: { Accept: contentType, "Content-Type": contentType },
    redirect: "manual",
    keepalive: false,
    timeout: false,
    proxy: false,
    signal,
    ...where.options,
  });
  const text = await readBounded(response, method);
  if (response.status !== 200)
    throw new PluginError(response.status, `${method}: ${errorOf(text) ?? (text.trim().slice(0, errorChars) || `status ${response.status}`)}`);
  const answer = objectOf(text, method);
  const failure = errorIn(answer);
  if (failure !== undefined) throw internal(failure);
  return answer;
}

/** fetch's options that lead to the plugin. A long path is shortened by way of its folder. */
function target(address: PluginAddress): Disposable & { options: BunFetchRequestInit } {
  if (address.kind === "tcp") {
    const { tls } = address;
    const read = (path: string | undefined): string | undefined => (path === undefined ? undefined : readFileSync(path, "utf8"));
    const options =
      tls === undefined ? {} : { tls: withoutUndefined({ rejectUnauthorized: !tls.insecure, ca: read(tls.ca), cert: read(tls.cert), key: read(tls.key) }) };
    return { options, [Symbol.dispose]() {} };
  }
  if (Buffer.byteLength(address.path) <= longestSocketPath) return { options: { unix: address.path }, [Symbol.dispose]() {} };
  const folder = openSync(dirname(address.path), "r");
  return { options: { unix: `/proc/self/fd/${folder}/${basename(address.path)}` }, [Symbol.dispose]: () => closeSync(folder) };
}

const withoutUndefined = <T extends object>(value: T): T => Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as T;

async function readBounded(response: Response, method: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > answerBytes) throw internal(`${method}: the plugin's answer is longer than ${answerBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** Address drivers say `Error`, the others `Err` (moby daemon/libnetwork/ipams/remote/api). */
function errorIn({ Err, Error }: Record<string, unknown>): string | undefined {
  return [Err, Error]
    .find((each) => typeof each === "string" && each !== "")
    ?.toString()
    .slice(0, errorChars);
}

function errorOf(text: string): string | undefined {
  try {
    return errorIn((JSON.parse(text) ?? {}) as Record<string, unknown>);
  } catch {
    return undefined; // older plugins answer plain text
  }
}

function objectOf(text: string, method: string): Record<string, unknown> {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch (error) {
    throw internal(`${method}: the plugin's answer is no JSON: ${messageOf(error)}`, error);
  }
  if (typeof answer !== "object" || answer === null || Array.isArray(answer)) throw internal(`${method}: the plugin's answer is no JSON object`);
  return answer as Record<string, unknown>;
}
