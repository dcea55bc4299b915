import { chownSync, existsSync, writeFileSync } from "node:fs";
import type { HostConfig } from "../oci/container.ts";
import { rootOnHost } from "../oci/id-map.ts";
import type { MountSpec } from "../oci/runtime-spec.ts";
import type { Endpoint, Networks } from "../networks/types.ts";
import { readInside } from "../runtime/inside.ts";
import type { SandboxSpec } from "./types.ts";

/** Docker's own lines of /etc/hosts. */
const localNames = "127.0.0.1\tlocalhost\n";
const localNames6 =
  "::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/**
 * Writes hosts, hostname and resolv.conf into the container's directory and gives the bind mounts that put them in place.
 * They are the container's to change, as in Docker, unless its root is read-only.
 */
export function writeFiles(spec: SandboxSpec, endpoints: readonly Endpoint[], networks: Pick<Networks, "resolvConf">): MountSpec[] {
  const texts = fileTexts(spec, endpoints, networks);
  const access = spec.host.ReadonlyRootfs === true ? "ro" : "rw";
  return Object.entries(texts).map(([name, text]) => {
    const source = `${spec.directory}/${name}`;
    writeFileSync(source, text, { mode: 0o644 });
    const { uid, gid } = rootOnHost(spec.idMap);
    if (spec.idMap !== undefined) chownSync(source, uid, gid);
    return { destination: `/etc/${name}`, type: "bind", source, options: ["bind", "rprivate", access] };
  });
}

function fileTexts(
  spec: SandboxSpec,
  endpoints: readonly Endpoint[],
  networks: Pick<Networks, "resolvConf">,
): Record<"resolv.conf" | "hostname" | "hosts", string> {
  const hostname = hostnameOf(spec);
  if (spec.network.kind === "container") {
    // the namespace's owner decides; its files are copied from its root, which no symlink of its must leave
    const root = `/proc/${spec.network.pid}/root`;
    const copy = (name: string): string => readInside(root, `/etc/${name}`, LONGEST) ?? "";
    return { "resolv.conf": copy("resolv.conf"), hostname: copy("hostname"), hosts: copy("hosts") };
  }
  return {
    "resolv.conf": networks.resolvConf(dnsOf(spec, endpoints)),
    hostname: `${hostname}\n`,
    hosts: hostsText(spec, hostname, endpoints),
  };
}

/** Bytes; a container writes to its files as it likes. */
const LONGEST = 1 << 20;

const hostnameOf = ({ config, id }: SandboxSpec): string => config.Hostname || id.slice(0, 12);

const dnsOf = ({ host, network }: SandboxSpec, endpoints: readonly Endpoint[]): Parameters<Networks["resolvConf"]>[0] => ({
  host: network.kind === "host",
  endpoints,
  dns: host.Dns ?? [],
  search: host.DnsSearch ?? [],
  options: host.DnsOptions ?? [],
});

function hostsText(spec: SandboxSpec, hostname: string, endpoints: readonly Endpoint[]): string {
  // as Docker: names of its own must be able to stand in for the host's
  if (spec.network.kind === "host" && (spec.host.ExtraHosts ?? []).length === 0) return readInside("/", "/etc/hosts", LONGEST) ?? "";
  const extra = extraHosts(spec.host, endpoints);
  if (hasIpv6(spec.host)) return localNames + localNames6 + extra + ownNames(spec, hostname, endpoints).join("");
  return [localNames, ...extra.split(/(?<=\n)/), ...ownNames(spec, hostname, endpoints)].filter((line) => !isOfIpv6(line)).join("");
}

const isOfIpv6 = (line: string): boolean => /^[0-9a-fA-F]*:/.test(line);

/** A line for each of the container's own addresses. */
function ownNames({ config }: SandboxSpec, hostname: string, endpoints: readonly Endpoint[]): string[] {
  const full = config.Domainname ? `${hostname}.${config.Domainname}` : hostname;
  const names = full.includes(".") ? `${full} ${full.split(".", 1)[0]}` : full;
  return endpoints.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]).flatMap((address) => (address === undefined ? [] : [`${address}\t${names}\n`]));
}

/** With IPv6 switched off, `localhost` must not stand for ::1. */
const hasIpv6 = ({ Sysctls }: HostConfig): boolean => Sysctls?.["net.ipv6.conf.all.disable_ipv6"] !== "1" && existsSync("/proc/sys/net/ipv6");

/** After a running container has joined a network or left one: its own lines of /etc/hosts, and resolv.conf, as Docker keeps them. @throws EngineError, SysError */
export function renewFiles(
  spec: SandboxSpec,
  { before, after }: { before: readonly Endpoint[]; after: readonly Endpoint[] },
  networks: Pick<Networks, "renewedResolvConf">,
): void {
  const hostname = hostnameOf(spec);
  const [old, wanted] = [ownNames(spec, hostname, before), ownNames(spec, hostname, after)];
  const gone = old.filter((line) => !wanted.includes(line));
  const come = wanted.filter((line) => !old.includes(line) && (hasIpv6(spec.host) || !isOfIpv6(line)));
  changeFile(spec.directory, "hosts", (text) => {
    const rest = text.split(/(?<=\n)/).filter((line) => !gone.includes(line));
    return rest.join("").replace(/[^\n]$/, "$&\n") + come.join("");
  });
  changeFile(spec.directory, "resolv.conf", (text) => networks.renewedResolvConf(text, dnsOf(spec, after)) ?? text);
}

/**
 * Changes one of a container's own files, where it has run, in place, since it is mounted: it may have anything in it by now.
 * @throws EngineError, SysError
 */
export function changeFile(directory: string, name: "hosts" | "resolv.conf", change: (text: string) => string): void {
  const text = readInside(directory, name, LONGEST);
  const changed = text === undefined ? undefined : change(text);
  if (changed !== undefined && changed !== text) writeFileSync(`${directory}/${name}`, changed);
}

/** `name:address`, also `name=address`; `host-gateway` is the host as the container reaches it. */
function extraHosts(host: HostConfig, endpoints: readonly Endpoint[]): string {
  const gateway = endpoints[0]?.gateway ?? endpoints[0]?.gateway6 ?? "127.0.0.1";
  return (host.ExtraHosts ?? [])
    .map((entry) => {
      const at = /[:=]/.exec(entry)?.index ?? entry.length;
      const address = entry.slice(at + 1).replace(/^\[(.*)\]$/, "$1");
      return `${address === "host-gateway" ? gateway : address}\t${entry.slice(0, at)}\n`;
    })
    .join("");
}
