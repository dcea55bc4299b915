import { invalidArgument } from "../lib/errors.ts";
import type { EndpointSettings } from "../oci/container.ts";
import { formatAddress, parseAddress } from "../lib/address.ts";

const sysctlsLabel = "com.docker.network.endpoint.sysctls";
const nameLabel = "com.docker.network.endpoint.ifname";

/** What is asked of an endpoint besides its addresses, as it is kept. Absent where nothing was asked. */
export interface EndpointOptions {
  /** The interface's name in the container. */
  interfaceName?: string;
  /** Settings below /proc/sys, `IFNAME` in place of the interface, e.g. `net/ipv4/conf/IFNAME/forwarding`. */
  sysctls?: { path: string; value: string }[];
  /** Further addresses. */
  linkLocal?: string[];
  /** The highest among a container's networks gives the default route; 0 unless told. */
  gwPriority?: number;
}

/** Other driver options are the drivers' own: none here has any, and as in Docker they are kept and mean nothing. @throws EngineError invalidArgument */
export function parseEndpointOptions({ DriverOpts, GwPriority, IPAMConfig }: EndpointSettings): EndpointOptions {
  const options: EndpointOptions = {};
  const name = DriverOpts?.[nameLabel];
  if (name !== undefined && name !== "") {
    // as the kernel takes it (dev_valid_name)
    if (name.length > 15 || /[\0-\x20/:\x7f]/.test(name) || name === "." || name === ".." || name === "lo")
      throw invalidArgument(`invalid interface name ${JSON.stringify(name)}`);
    options.interfaceName = name;
  }
  const sysctls = DriverOpts?.[sysctlsLabel];
  if (sysctls !== undefined && sysctls !== "") options.sysctls = sysctls.split(",").map(parseSysctl);
  const linkLocal = (IPAMConfig?.LinkLocalIPs ?? []).map((text) => {
    const address = parseAddress(text);
    if (address === undefined || address.value === 0n) throw invalidArgument(`invalid link-local IP address: ${text}`);
    return formatAddress(address);
  });
  if (linkLocal.length > 0) options.linkLocal = linkLocal;
  if (GwPriority) options.gwPriority = GwPriority;
  return options;
}

function parseSysctl(text: string): { path: string; value: string } {
  const at = text.indexOf("=");
  const name = text.slice(0, Math.max(at, 0));
  if (at < 1) throw invalidArgument(`invalid network interface sysctl ${JSON.stringify(text)}: want net.X.Y.IFNAME.Z=V`);
  if (!/^net\.(ipv4|ipv6|mpls)\.[a-z0-9_]+\.(?:IFNAME|ifname)\.[a-zA-Z0-9_-]+$/.test(name)) {
    throw invalidArgument(
      `unrecognised network interface sysctl '${text}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'`,
    );
  }
  // the docker command writes options in small letters
  return { path: name.replace(".ifname.", ".IFNAME.").replaceAll(".", "/"), value: text.slice(at + 1) };
}
