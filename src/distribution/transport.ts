import { cancelled } from "../lib/errors.ts";
import { connectionError, goMethod, misbehaviour, RegistryError } from "./errors.ts";

export interface TlsOptions {
  /** Accept any certificate. */
  insecure: boolean;
  ca?: string[];
  cert?: string;
  key?: string;
}

export interface HttpRequest {
  method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  url: string;
  /** For the first host only are those in `secret` sent: a redirect elsewhere drops them. */
  headers?: Record<string, string>;
  secret?: Record<string, string>;
  /** Called anew where the request is sent again. A stream needs its `size`. */
  body?: () => Uint8Array | string | { stream: ReadableStream<Uint8Array>; size: number; onProgress?: (bytes: number) => void };
  signal?: AbortSignal;
  tls?: TlsOptions;
  /** Milliseconds without a byte in either direction after which the exchange is given up. */
  stallTimeout: number;
  /** Off for blobs, whose digest covers the bytes as stored, whatever Content-Encoding a store behind the registry claims. */
  decompress?: boolean;
}

/** An answer whose body is not yet read. Dispose it in any case: that closes the connection where the body wasn't read to its end. */
export interface Exchange extends Disposable {
  readonly status: number;
  readonly headers: Headers;
  /** After redirects. */
  readonly url: string;
  /** Chunks as they arrive. @throws RegistryError where the connection is lost or stalls */
  body(): AsyncGenerator<Uint8Array>;
  /** The whole body; refused above `limit` bytes. */
  bytes(limit: number): Promise<Uint8Array>;
}

/** As Go's client. */
const maxRedirects = 10;

/** Sends a request and follows its redirects. @throws RegistryError, or EngineError `cancelled` */
export async function send(request: HttpRequest): Promise<Exchange> {
  const origin = new URL(request.url).origin;
  let { url, method } = request;
  let withBody = true;
  for (let hops = 0; ; hops++) {
    const headers = { ...request.headers, ...(new URL(url).origin === origin ? request.secret : {}) };
    const exchange = await sendOnce({ ...request, url, method, headers, ...(withBody ? {} : { body: undefined }) });
    const location = isRedirect(exchange.status) ? exchange.headers.get("location") : null;
    if (location === null) return exchange;
    exchange[Symbol.dispose]();
    if (hops === maxRedirects) throw misbehaviour(`${goMethod(request.method)} "${request.url}": stopped after ${maxRedirects} redirects`);
    const next = redirectTarget(request, url, location);
    const keepsMethod = exchange.status === 307 || exchange.status === 308 || method === "GET" || method === "HEAD";
    if (!keepsMethod) {
      method = "GET";
      withBody = false;
    }
    url = next;
  }
}

function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

/** A registry may send us to any host, but not to plain http from https, nor to anything else that isn't http. */
function redirectTarget(request: HttpRequest, from: string, location: string): string {
  const target = URL.canParse(location, from) ? new URL(location, from) : undefined;
  const secure = from.startsWith("https:") && !(request.tls?.insecure ?? false);
  if (target === undefined || (target.protocol !== "https:" && (target.protocol !== "http:" || secure))) {
    throw misbehaviour(`${goMethod(request.method)} "${request.url}": refused a redirect to ${JSON.stringify(location.slice(0, 200))}`);
  }
  target.username = "";
  target.password = "";
  return target.href;
}

async function sendOnce(request: HttpRequest): Promise<Exchange> {
  const { method, url, signal, stallTimeout } = request;
  if (signal?.aborted) throw cancelled(`${goMethod(method)} "${url}": cancelled`, signal.reason);
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(cancelled(`${goMethod(method)} "${url}": cancelled`, signal?.reason));
  signal?.addEventListener("abort", onAbort, { once: true });
  const stalled = (): void => {
    const text = `${goMethod(method)} "${url}": the registry sent nothing for ${stallTimeout / 1000} seconds`;
    controller.abort(new RegistryError("unavailable", text, { temporary: true }));
  };
  let timer = setTimeout(stalled, stallTimeout);
  let released = false;
  const touch = (): void => {
    clearTimeout(timer);
    if (!released) timer = setTimeout(stalled, stallTimeout);
  };
  const release = (): void => {
    released = true;
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  };
  /** What an abort gave as its reason wins over what fetch makes of it. */
  const translate = (error: unknown): unknown => (controller.signal.aborted ? controller.signal.reason : connectionError(method, url, error, request.tls));

  let response: Response;
  try {
    response = await fetch(url, { ...fetchOptions(request, touch), signal: controller.signal });
  } catch (error) {
    release();
    throw translate(error);
  }
  clearTimeout(timer);
  return exchangeOf(response, url, { touch, pause: () => clearTimeout(timer), release, translate, abort: () => controller.abort() });
}

function fetchOptions(request: HttpRequest, touch: () => void): BunFetchRequestInit {
  const headers: Record<string, string> = { "user-agent": "berth", "accept-encoding": "identity", ...request.headers };
  const body = request.body?.();
  const options: BunFetchRequestInit = { method: request.method, headers, redirect: "manual", decompress: request.decompress ?? true, timeout: false };
  if (typeof body === "string" || body instanceof Uint8Array) {
    options.body = body;
  } else if (body !== undefined) {
    headers["content-length"] = String(body.size);
    options.body = watch(body.stream, (bytes) => {
      touch();
      body.onProgress?.(bytes);
    });
  }
  const { tls } = request;
  if (request.url.startsWith("https:")) {
    // Written out, since NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment changes the default.
    options.tls = {
      rejectUnauthorized: !(tls?.insecure ?? false),
      ...(tls?.ca && { ca: tls.ca }),
      ...(tls?.cert && { cert: tls.cert }),
      ...(tls?.key && { key: tls.key }),
    };
  }
  return options;
}

/** Passes a request's body on and tells when a chunk was taken, with how many bytes that makes. */
function watch(stream: ReadableStream<Uint8Array>, taken: (bytes: number) => void): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  let bytes = 0;
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const { done, value } = await reader.read();
      bytes += value?.length ?? 0;
      taken(bytes);
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
}

interface ExchangeHooks {
  touch(): void;
  pause(): void;
  release(): void;
  translate(error: unknown): unknown;
  abort(): void;
}

function exchangeOf(response: Response, url: string, hooks: ExchangeHooks): Exchange {
  let finished = false;
  const body = async function* (): AsyncGenerator<Uint8Array> {
    const reader = response.body?.getReader();
    try {
      for (;;) {
        if (reader === undefined) break;
        hooks.touch();
        const { done, value } = await reader.read().catch((error: unknown) => {
          throw hooks.translate(error);
        });
        // Not the registry's fault if the consumer takes its time.
        hooks.pause();
        if (done) break;
        yield value;
      }
      finished = true;
    } finally {
      hooks.pause();
    }
  };
  return {
    status: response.status,
    headers: response.headers,
    url,
    body,
    bytes: async (limit) => {
      const chunks: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of body()) {
        size += chunk.length;
        if (size > limit) throw misbehaviour(`Get "${url}": the answer is longer than ${limit} bytes`);
        chunks.push(chunk);
      }
      return Buffer.concat(chunks);
    },
    [Symbol.dispose]: () => {
      if (!finished) hooks.abort();
      hooks.release();
    },
  };
}
