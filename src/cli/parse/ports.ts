import type { PortBinding } from "../../oci/container.ts";
import { CliError } from "../errors.ts";
import { isAddress } from "./subnets.ts";

export interface PublishedPorts {
  exposed: Record<string, object>;
  bindings: Record<string, PortBinding[]>;
}

const protocols = new Set(["tcp", "udp", "sctp"]);

/**
 * `-p` values: `80`, `8080:80`, `127.0.0.1:8080:80/udp`, `[::1]:8080:80`, `8000-8010:80`, `1000-1005:2000-2005`, `127.0.0.1::80`, or
 * `target=80,published=8080,protocol=udp,host_ip=…`. @throws CliError
 */
export function parsePublish(specs: readonly string[]): PublishedPorts {
  const result: PublishedPorts = { exposed: {}, bindings: {} };
  for (const spec of specs) {
    const { hostIp, hostPort, containerPort, protocol } = spec.includes("=") ? longForm(spec) : shortForm(spec);
    const container = portRange(containerPort, () => new CliError(`invalid containerPort: ${containerPort}`));
    const host = hostPort === "" ? undefined : portRange(hostPort, () => new CliError(`invalid hostPort: ${hostPort}`));
    const [from, to] = container;
    const span = to - from;
    if (host !== undefined && host[1] - host[0] !== span && span !== 0) {
      throw new CliError(`invalid ranges specified for container and host Ports: ${containerPort} and ${hostPort}`);
    }
    for (let offset = 0; offset <= span; offset++) {
      const key = `${from + offset}/${protocol}`;
      result.exposed[key] = {};
      (result.bindings[key] ??= []).push({ HostIp: hostIp, HostPort: hostPortText(host, span, offset, hostPort) });
    }
  }
  return result;
}

function hostPortText(host: [number, number] | undefined, span: number, offset: number, text: string): string {
  if (host === undefined) return "";
  // One container port and a range of host ports: the engine picks a free one.
  return span === 0 && host[0] !== host[1] ? text : String(host[0] + offset);
}

interface PortSpec {
  hostIp: string;
  hostPort: string;
  containerPort: string;
  protocol: string;
}

function shortForm(spec: string): PortSpec {
  const [, ports = "", protocol = "tcp"] = /^(.*?)(?:\/([^/]*))?$/.exec(spec) ?? [];
  const match = /^(?:(?:(\[[^\]]*\]|[^:[\]]*):)?([^:]*):)?([^:]*)$/.exec(ports);
  if (match === null) throw new CliError(`invalid publish opts format (should be name=value but got '${spec}')`);
  const [, hostIp = "", hostPort = "", containerPort = ""] = match;
  if (containerPort === "") throw new CliError(`no port specified: ${spec}<empty>`);
  return { hostIp: checkedIp(hostIp.replace(/^\[|\]$/g, "")), hostPort, containerPort, protocol: checkedProtocol(protocol) };
}

function longForm(spec: string): PortSpec {
  const fields: Record<string, string> = {};
  for (const part of spec.split(",")) {
    const [name = "", ...value] = part.split("=");
    fields[name.trim().toLowerCase()] = value.join("=").trim();
  }
  const known = ["target", "published", "protocol", "mode", "host_ip", "name", "app_protocol"];
  const unknown = Object.keys(fields).find((name) => !known.includes(name));
  if (unknown !== undefined) throw new CliError(`invalid field key ${unknown}`);
  if (fields.target === undefined) throw new CliError(`invalid publish opts: target is missing in '${spec}'`);
  return {
    hostIp: checkedIp(fields.host_ip ?? ""),
    hostPort: fields.published ?? "",
    containerPort: fields.target,
    protocol: checkedProtocol(fields.protocol ?? "tcp"),
  };
}

function checkedProtocol(text: string): string {
  const protocol = text.toLowerCase();
  if (!protocols.has(protocol)) throw new CliError(`invalid proto: ${text}`);
  return protocol;
}

function checkedIp(text: string): string {
  if (text !== "" && !isAddress(text)) throw new CliError(`invalid IP address: ${text}`);
  return text;
}

function portRange(text: string, problem: () => CliError): [number, number] {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const from = Number(match?.[1]);
  const to = Number(match?.[2] ?? match?.[1]);
  if (match === null || from > 65535 || to > 65535 || to < from) throw problem();
  return [from, to];
}

/** `--publish-rm` values: `8080`, `8000-8010/udp`, `127.0.0.1:8080`, `[::1]:8080/tcp`. @throws CliError */
export function parsePublishRemoval(spec: string): { HostIp: string; HostPort: string; Protocol: string } {
  const [, ports = "", protocol = "tcp"] = /^(.*?)(?:\/([^/]*))?$/.exec(spec) ?? [];
  const match = /^(?:(\[[^\]]*\]|[^:[\]]*):)?([^:]+)$/.exec(ports);
  if (match === null) throw new CliError(`invalid host port: ${spec} (should be [ADDRESS:]PORT[-PORT][/PROTOCOL])`);
  const [, hostIp = "", hostPort = ""] = match;
  portRange(hostPort, () => new CliError(`invalid hostPort: ${hostPort}`));
  return { HostIp: checkedIp(hostIp.replace(/^\[|\]$/g, "")), HostPort: hostPort, Protocol: checkedProtocol(protocol) };
}

/** `--expose` values: `80`, `80/udp`, `7000-7010`. */
export function parseExpose(specs: readonly string[]): Record<string, object> {
  const exposed: Record<string, object> = {};
  for (const spec of specs) {
    if (spec.includes(":")) throw new CliError(`invalid port format for --expose: ${spec}`);
    const [, range = "", protocol = "tcp"] = /^(.*?)(?:\/([^/]*))?$/.exec(spec) ?? [];
    const [from, to] = portRange(range, () => new CliError(`invalid range format for --expose: ${spec}`));
    for (let port = from; port <= to; port++) exposed[`${port}/${checkedProtocol(protocol)}`] = {};
  }
  return exposed;
}
