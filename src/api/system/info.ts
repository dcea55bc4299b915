import { endpoint, json } from "../endpoint.ts";
import { gateFields, type FieldGate } from "../versions.ts";

const gates: FieldGate[] = [
  { path: "Runtimes.*.status", since: 44 },
  { path: "Containerd", since: 46 },
  { path: "FirewallBackend", since: 49 },
  { path: "DiscoveredDevices", since: 50 },
  { path: "RegistryConfig.AllowNondistributableArtifactsCIDRs", until: 47 },
  { path: "RegistryConfig.AllowNondistributableArtifactsHostnames", until: 47 },
  { path: "ContainerdCommit.Expected", until: 49 },
  { path: "RuncCommit.Expected", until: 49 },
  { path: "InitCommit.Expected", until: 49 },
  { path: "KernelMemoryTCP", until: 52 },
  { path: "BridgeNfIptables", until: 50 },
  { path: "BridgeNfIp6tables", until: 50 },
];

export const info = endpoint({
  method: "GET",
  path: "/info",
  handler: async ({ services, api }) => json(gateFields(await services.system.info(), gates, api)),
});

export const version = endpoint({ method: "GET", path: "/version", handler: async ({ services }) => json(await services.system.version()) });
