import type { Call } from "./plugin.ts";

interface Endpoint {
  NetworkID: string;
  EndpointID: string;
}

const ip = (...args: string[]): string => {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["ip", ...args]);
  if (exitCode !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr.toString().trim()}`);
  return stdout.toString();
};
const bridgeOf = (network: unknown): string => `pb${String(network).slice(0, 8)}`;
const hostEnd = (endpoint: unknown): string => `ph${String(endpoint).slice(0, 8)}`;
const inEnd = (endpoint: unknown): string => `pi${String(endpoint).slice(0, 8)}`;
const gateways = new Map<string, string>();

/** A bridge and veth pairs; the engine moves the pair's other end into the container. */
export const networkCalls: Record<string, Call> = {
  "NetworkDriver.GetCapabilities": () => ({ Scope: "local", ConnectivityScope: "local" }),
  "NetworkDriver.CreateNetwork": ({ NetworkID, Options, IPv4Data }) => {
    const generic = (Options as Record<string, Record<string, string>> | null)?.["com.docker.network.generic"] ?? {};
    if (generic["fail"] !== undefined) throw new Error("no such network type");
    const gateway = (IPv4Data as { Gateway?: string }[] | null)?.[0]?.Gateway ?? "";
    ip("link", "add", bridgeOf(NetworkID), "type", "bridge");
    if (gateway !== "") {
      ip("addr", "add", gateway, "dev", bridgeOf(NetworkID));
      gateways.set(String(NetworkID), gateway.split("/")[0] ?? "");
    }
    ip("link", "set", bridgeOf(NetworkID), "up");
    return {};
  },
  "NetworkDriver.DeleteNetwork": ({ NetworkID }) => {
    ip("link", "delete", bridgeOf(NetworkID));
    return {};
  },
  "NetworkDriver.CreateEndpoint": () => ({ Interface: {} }),
  "NetworkDriver.EndpointOperInfo": () => ({ Value: { tenant: "seven" } }),
  "NetworkDriver.DeleteEndpoint": () => ({}),
  "NetworkDriver.Join": (request) => {
    const { NetworkID, EndpointID } = request as unknown as Endpoint;
    ip("link", "add", hostEnd(EndpointID), "type", "veth", "peer", "name", inEnd(EndpointID));
    ip("link", "set", hostEnd(EndpointID), "master", bridgeOf(NetworkID), "up");
    return {
      InterfaceName: { SrcName: inEnd(EndpointID), DstPrefix: "eth" },
      Gateway: gateways.get(NetworkID) ?? "",
      StaticRoutes: [{ Destination: "198.51.100.0/24", RouteType: 1 }],
    };
  },
  "NetworkDriver.Leave": ({ EndpointID }) => {
    Bun.spawnSync(["ip", "link", "delete", hostEnd(EndpointID)]);
    return {};
  },
  "NetworkDriver.DiscoverNew": () => ({}),
  "NetworkDriver.DiscoverDelete": () => ({}),
  "NetworkDriver.ProgramExternalConnectivity": () => ({}),
  "NetworkDriver.RevokeExternalConnectivity": () => ({}),
};
