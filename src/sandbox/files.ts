import { chownSync, writeFileSync } from "node:fs";
import type { HostConfig } from "../oci/container.ts";
import { rootOnHost } from "../oci/id-map.ts";
import type { MountSpec } from "../oci/runtime-spec.ts";
import type { Endpoint, Networks } from "../networks/types.ts";
import { readInside } from "../runtime/inside.ts";
import type { SandboxSpec } from "./types.ts";

/** Docker's own lines of /etc/hosts. */
const localNames =
  "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

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
  const hostname = spec.config.Hostname || spec.id.slice(0, 12);
  if (spec.network.kind === "container") {
    // the namespace's owner decides; its files are copied from its root, which no symlink of its must leave
    const root = `/proc/${spec.network.pid}/root`;
    const copy = (name: string): string => readInside(root, `/etc/${name}`, LONGEST) ?? "";
    return { "resolv.conf": copy("resolv.conf"), hostname: copy("hostname"), hosts: copy("hosts") };
  }
  return {
    "resolv.conf": networks.resolvConf({
      networkMode: spec.host.NetworkMode ?? "",
      dns: spec.host.Dns ?? [],
      search: spec.host.DnsSearch ?? [],
      options: spec.host.DnsOptions ?? [],
    }),
    hostname: `${hostname}\n`,
    hosts: hostsText(spec, hostname, endpoints),
  };
}

const LONGEST = 1 << 20;

function hostsText(spec: SandboxSpec, hostname: string, endpoints: readonly Endpoint[]): string {
  const lines = spec.network.kind === "host" ? (readInside("/", "/etc/hosts", LONGEST) ?? "").replace(/\n?$/, "\n") : localNames;
  const full = spec.config.Domainname ? `${hostname}.${spec.config.Domainname}` : hostname;
  const names = full.includes(".") ? `${full} ${full.split(".", 1)[0]}` : full;
  const own = endpoints.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]).filter((address) => address !== undefined);
  return lines + extraHosts(spec.host, endpoints) + own.map((address) => `${address}\t${names}\n`).join("");
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
