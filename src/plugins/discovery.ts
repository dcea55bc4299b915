import { readFileSync, readdirSync, statSync, type Stats } from "node:fs";
import { join, parse } from "node:path";
import { invalidArgument, messageOf } from "../lib/errors.ts";

/** Where a plugin listens. */
export type PluginAddress = { kind: "unix"; path: string } | { kind: "tcp"; url: string; tls?: TlsFiles };

/** Paths of PEM files. */
export interface TlsFiles {
  insecure: boolean;
  ca?: string;
  cert?: string;
  key?: string;
}

export interface PluginFolders {
  /** `NAME.sock` or `NAME/NAME.sock`. */
  sockets: string;
  /** `NAME.spec` or `NAME.json`, also one folder deeper. */
  specs: readonly string[];
}

/** A spec is a line or a small object. */
const specBytes = 64 << 10;

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.:-]{0,127}$/;

/** Sockets first, then specs, in moby's order (pkg/plugins/discovery.go). @throws EngineError invalidArgument for a spec that is no good */
export function findPlugin({ sockets, specs }: PluginFolders, name: string): PluginAddress | undefined {
  if (!namePattern.test(name)) return undefined;
  const socket = candidates(sockets, name, ".sock").find(isSocket);
  if (socket !== undefined) return { kind: "unix", path: socket };
  for (const path of specs.flatMap((folder) => [...candidates(folder, name, ".spec"), ...candidates(folder, name, ".json")])) {
    if (statOf(path)?.isFile() === true) return readSpec(name, path);
  }
  return undefined;
}

/** Names of all that are there, sorted. */
export function listPlugins({ sockets, specs }: PluginFolders): string[] {
  const names = [...namesIn(sockets, [".sock"]), ...specs.flatMap((folder) => namesIn(folder, [".spec", ".json"]))];
  return [...new Set(names)].filter((name) => namePattern.test(name)).sort();
}

const candidates = (folder: string, name: string, extension: string): string[] => [join(folder, name + extension), join(folder, name, name + extension)];

const isSocket = (path: string): boolean => statOf(path)?.isSocket() === true;

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined; // none, a file where a folder should be, a loop of links
  }
}

function namesIn(folder: string, extensions: readonly string[]): string[] {
  let entries: string[];
  try {
    entries = readdirSync(folder);
  } catch {
    return []; // most hosts have no such folder
  }
  return entries.flatMap((entry) => {
    const { name, ext } = parse(entry);
    if (extensions.includes(ext)) return [name];
    return extensions.some((extension) => statOf(join(folder, entry, entry + extension)) !== undefined) ? [entry] : [];
  });
}

function readSpec(name: string, path: string): PluginAddress {
  const wrong = (what: string, cause?: unknown): Error => invalidArgument(`the spec of plugin ${name} in ${path} ${what}`, cause);
  if ((statOf(path)?.size ?? 0) > specBytes) throw wrong("is too large");
  let text: string;
  let tls: TlsFiles | undefined;
  try {
    text = readFileSync(path, "utf8").trim();
    if (path.endsWith(".json")) {
      const { Addr, TLSConfig } = (JSON.parse(text) ?? {}) as { Addr?: unknown; TLSConfig?: Record<string, unknown> | null };
      text = typeof Addr === "string" ? Addr : "";
      tls = tlsOf(TLSConfig ?? {});
    }
  } catch (error) {
    throw wrong(`can't be read: ${messageOf(error)}`, error);
  }
  return addressOf(text, tls) ?? parseFailure();

  function parseFailure(): never {
    throw wrong(`names no address: ${JSON.stringify(text)} (want unix:///PATH, tcp://HOST:PORT, http://HOST:PORT or https://HOST:PORT)`);
  }
}

/** As in Docker: what names no authority of its own is trusted as it is. */
function tlsOf(config: Record<string, unknown>): TlsFiles {
  const file = (key: string): string | undefined => (typeof config[key] === "string" && config[key] !== "" ? config[key] : undefined);
  const [ca, cert, key] = [file("CAFile"), file("CertFile"), file("KeyFile")];
  return { insecure: config["InsecureSkipVerify"] === true || ca === undefined, ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}

/** Only https speaks TLS, whatever a spec says besides; a path after the host means nothing, as in Docker. */
function addressOf(text: string, tls: TlsFiles | undefined): PluginAddress | undefined {
  const unix = /^unix:\/\/(\/.+)$/.exec(text);
  if (unix?.[1] !== undefined) return { kind: "unix", path: unix[1] };
  const [, scheme, host] = /^(tcp|http|https):\/\/([^/?#@\s]+)(?:[/?#]|$)/.exec(text) ?? [];
  if (scheme === undefined || host === undefined || !URL.canParse(`http://${host}`)) return undefined;
  return scheme === "https" ? { kind: "tcp", url: `https://${host}`, tls: tls ?? { insecure: true } } : { kind: "tcp", url: `http://${host}` };
}
