import type { HostConfig, PortBinding } from "../oci/container.ts";
import { invalidArgument } from "../lib/errors.ts";

const protocols = new Set(["tcp", "udp", "sctp"]);

function portNumber(text: string): number | undefined {
  if (!/^\d{1,5}$/.test(text)) return undefined;
  const number = Number(text);
  return number <= 65535 ? number : undefined;
}

/** Most ports are written so already, and an image may have thousands. */
const isNormal = (text: string): boolean => /^(?:[1-9]\d{0,3}|[1-5]\d{4})\/(?:tcp|udp|sctp)$/.test(text);

/** `80`, `80/tcp` → `80/tcp`. @throws EngineError invalidArgument */
export function parsePort(text: string): string {
  if (isNormal(text)) return text;
  const [port = "", protocol = "tcp", ...rest] = text.split("/");
  const number = portNumber(port);
  if (number === undefined || number === 0) throw invalidArgument(`invalid port specification: ${JSON.stringify(text)}`);
  const name = (protocol === "" ? "tcp" : protocol).toLowerCase();
  if (rest.length > 0 || !protocols.has(name)) throw invalidArgument(`invalid port specification: ${JSON.stringify(text)}: invalid proto: ${protocol}`);
  return `${number}/${name}`;
}

/** A set of ports, each as `parsePort` has it. @throws EngineError invalidArgument */
export function normalisePorts(ports: Record<string, object>): Record<string, object> {
  const result: Record<string, object> = {};
  for (const port in ports) result[parsePort(port)] = {};
  return result;
}

/** A host port: empty (any), one number, or a range to choose from. @throws EngineError invalidArgument */
export function checkHostPort(text: string): void {
  if (text === "") return;
  const [first = "", last = first, ...rest] = text.replace(/\/\w+$/, "").split("-");
  const from = portNumber(first);
  const to = portNumber(last);
  if (rest.length > 0 || from === undefined || to === undefined || to < from) {
    throw invalidArgument(`invalid port specification: ${JSON.stringify(text)}`);
  }
}

/** Keys brought to `number/protocol`; values checked. @throws EngineError invalidArgument */
export function normalisePortBindings(bindings: NonNullable<HostConfig["PortBindings"]>): Record<string, PortBinding[]> {
  const result: Record<string, PortBinding[]> = {};
  for (const [key, list] of Object.entries(bindings)) {
    const port = parsePort(key);
    for (const binding of list ?? []) {
      checkHostPort(binding.HostPort ?? "");
      if (binding.HostIp !== undefined && binding.HostIp !== "" && !isAddress(binding.HostIp)) {
        throw invalidArgument(`invalid port specification: ${JSON.stringify(key)}: invalid host address ${JSON.stringify(binding.HostIp)}`);
      }
    }
    const filled = (list ?? []).map(({ HostIp = "", HostPort = "" }) => ({ HostIp, HostPort }));
    result[port] = [...(result[port] ?? []), ...filled];
  }
  return result;
}

export function isAddress(text: string): boolean {
  const bare = text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text;
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(bare)) return bare.split(".").every((part) => Number(part) <= 255);
  return bare.includes(":") && URL.canParse(`http://[${bare}]/`);
}

/** What is really to be bound: the bindings, and with `-P` every exposed port on a free host port. */
export function effectiveBindings(host: HostConfig, exposed: Record<string, object> | null | undefined): Record<string, PortBinding[]> {
  const result: Record<string, PortBinding[]> = {};
  for (const [port, list] of Object.entries(host.PortBindings ?? {})) {
    if (list !== null && list.length > 0) result[port] = list;
    else if (host.PublishAllPorts !== true) result[port] = [{}];
  }
  if (host.PublishAllPorts === true) {
    for (const port of Object.keys(exposed ?? {})) result[port] ??= [{}];
  }
  return result;
}
