import { invalidArgument } from "../lib/errors.ts";

/** `host:port`, `[v6]:port`, `:port` (every address) or `port` alone (loopback). @throws EngineError invalidArgument */
export function parseRegistryAddress(text: string): { host: string; port: number } {
  const match = /^(?:(?:\[([^\]]+)\]|([^:]*)):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) throw invalidArgument(`invalid address ${JSON.stringify(text)}: want HOST:PORT`);
  const host = match[1] ?? match[2];
  return { host: host === undefined ? "127.0.0.1" : host === "" ? "::" : host, port };
}
