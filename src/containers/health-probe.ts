import { invalidArgument } from "../lib/errors.ts";
import { bytesOf, parseAddress } from "../lib/address.ts";
import type { ContainerConfig } from "../oci/container.ts";

/**
 * A label that takes the place of a health check's command, so that one and the same container definition serves engines that know nothing of it:
 * `tcp://localhost:5432` or `http://:8080/health`.
 */
const probeLabel = "berth.healthcheck";

export type HealthProbe =
  | { kind: "command"; args: string[] }
  /** Addresses are tried in order. Docker knows neither of these two. */
  | { kind: "tcp"; addresses: Uint8Array[]; host: string; port: number }
  | { kind: "http"; addresses: Uint8Array[]; host: string; port: number; path: string };

const known = ["", "NONE", "CMD", "CMD-SHELL", "TCP", "HTTP"];
const authority = /^(\[[0-9a-fA-F:.]+\]|[^[\]:/?#@\s]*)(?::(\d{1,5}))?$/;

/** What a container is to be asked, or undefined where it has no health check. @throws EngineError invalidArgument */
export function healthProbe({ Healthcheck, Labels, Shell }: Pick<ContainerConfig, "Healthcheck" | "Labels" | "Shell">): HealthProbe | undefined {
  const [kind = "", ...rest] = Healthcheck?.Test ?? [];
  const label = Labels?.[probeLabel];
  if (label !== undefined && label !== "" && kind !== "NONE") return parseUrl(label, `label ${probeLabel}=${label}`);
  switch (kind) {
    case "CMD":
      return { kind: "command", args: rest };
    case "CMD-SHELL":
      return { kind: "command", args: [...(Shell && Shell.length > 0 ? Shell : ["/bin/sh", "-c"]), ...rest] };
    case "TCP":
    case "HTTP": {
      const [target = ""] = rest;
      const what = JSON.stringify([kind, ...rest]);
      if (rest.length !== 1) throw invalidArgument(`invalid health check ${what}: it takes one address`);
      return parseUrl(target.includes("://") ? target : `${kind.toLowerCase()}://${target}`, what, kind);
    }
    default:
      return undefined;
  }
}

/** What Docker's engine passes over in silence. */
export function healthWarnings({ Healthcheck }: Pick<ContainerConfig, "Healthcheck">): string[] {
  const kind = Healthcheck?.Test?.[0] ?? "";
  return known.includes(kind) ? [] : [`Unknown healthcheck type '${kind}': the container has no health check`];
}

function parseUrl(text: string, what: string, kind?: string): HealthProbe {
  const bad = (why: string): Error => invalidArgument(`invalid health check ${what}: ${why}`);
  const [, scheme = "", rest = ""] = /^([a-z]+):\/\/(.*)$/s.exec(text) ?? [];
  if (scheme !== "tcp" && scheme !== "http") throw bad("it must be tcp://HOST:PORT or http://HOST:PORT/PATH");
  if (kind !== undefined && kind.toLowerCase() !== scheme) throw bad(`${kind} takes no ${scheme} address`);
  const slash = rest.indexOf("/");
  const path = slash < 0 ? "/" : rest.slice(slash);
  if (scheme === "tcp" && slash >= 0) throw bad("a tcp address has no path");
  // it goes into a request as it is
  if (!/^[\x21-\x7e]*$/.test(path)) throw bad("the path must be percent-encoded");
  const [, shown = "", digits] = authority.exec(slash < 0 ? rest : rest.slice(0, slash)) ?? [undefined, "?"];
  const host = shown.replace(/^\[|\]$/g, "") || "localhost";
  const addresses = addressesOf(host);
  if (addresses === undefined) throw bad("the host must be empty, localhost or an IP address, as seen from inside the container");
  const port = digits === undefined && scheme === "http" ? 80 : Number(digits);
  if (!(port >= 1 && port <= 65535)) throw bad("a port from 1 to 65535 must be given");
  return scheme === "tcp" ? { kind: "tcp", addresses, host, port } : { kind: "http", addresses, host, port, path };
}

const loopback = ["127.0.0.1", "::1"];

function addressesOf(host: string): Uint8Array[] | undefined {
  const parsed = (host === "localhost" ? loopback : [host]).map(parseAddress);
  return parsed.every((each) => each !== undefined) ? parsed.map(bytesOf) : undefined;
}
