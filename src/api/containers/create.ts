import type { z } from "zod";
import type { CreateOptions } from "../../containers/types.ts";
import { invalidArgument } from "../../lib/errors.ts";
import type { EndpointSettings, HostConfig, MountConfig } from "../../oci/container.ts";
import { endpoint, json } from "../endpoint.ts";
import type { ContainerCreated } from "../types/containers.ts";
import type { ApiVersion } from "../versions.ts";
import { createRequest } from "./schemas.ts";

const endpointSysctls = "com.docker.network.endpoint.sysctls";

export const createContainer = endpoint({
  method: "POST",
  path: "/containers/create",
  body: createRequest,
  bodyRequired: true,
  handler: async ({ services, query, api, body }) => {
    const { options, warnings } = toCreateOptions(body, api);
    const name = query.optional("name");
    const platform = api >= 41 ? query.optional("platform") : undefined;
    const created = await services.containers.create({
      ...options,
      ...(name === undefined ? {} : { name }),
      ...(platform === undefined ? {} : { platform }),
    });
    const answer: ContainerCreated = { Id: created.id, Warnings: [...created.warnings, ...warnings] };
    return json(answer, 201);
  },
});

/** What older clients mean, in today's terms (moby's container_routes.go, postContainersCreate). @throws EngineError invalidArgument */
export function toCreateOptions(
  body: z.infer<typeof createRequest>,
  api: ApiVersion,
): { options: Omit<CreateOptions, "name" | "platform">; warnings: string[] } {
  const { HostConfig: givenHost, NetworkingConfig: networking, ...config } = body;
  const { Capabilities: legacy, ...host } = { ...givenHost } as HostConfig & { Capabilities?: string[] };
  const endpoints: Record<string, EndpointSettings> = {};
  for (const [name, settings] of Object.entries(networking?.EndpointsConfig ?? {})) endpoints[name] = { ...settings };

  if (host.NetworkMode === undefined || host.NetworkMode === "" || host.NetworkMode === "default") {
    host.NetworkMode = "bridge";
    if (endpoints.default !== undefined) {
      endpoints.bridge = endpoints.default;
      delete endpoints.default;
    }
  }
  if (api < 25) host.AutoRemove = false;
  if (api === 40 && (legacy?.length ?? 0) > 0) {
    throw invalidArgument("HostConfig.Capabilities was never part of a released API: use CapAdd and CapDrop");
  }
  if (api < 40 && (host.IpcMode ?? "") === "") host.IpcMode = "shareable";
  if (api < 42) delete host.ConsoleSize;
  if (api < 43) delete host.Annotations;
  if (api < 44) {
    if (config.Healthcheck !== undefined) config.Healthcheck = { ...config.Healthcheck, StartInterval: undefined };
    if (Object.keys(endpoints).length > 1) {
      throw invalidArgument(`Container cannot be created with multiple network endpoints: ${Object.keys(endpoints).join(", ")}`);
    }
  }
  if (api < 48) for (const settings of Object.values(endpoints)) delete settings.GwPriority;
  if (host.PidsLimit !== undefined && host.PidsLimit !== null && host.PidsLimit <= 0) host.PidsLimit = null;
  if (host.Mounts !== undefined) host.Mounts = host.Mounts.map((mount) => mountFor(mount, api));
  const warnings = [volumeDriver(host, api), macAddress(config, host, endpoints, api), interfaceSysctls(host, endpoints, api), portBindings(host, api)].filter(
    (warning) => warning !== undefined,
  );
  const older = { ...(api < 41 ? { clientBefore41: true } : {}), ...(api < 44 ? { readOnlyNonRecursive: true } : {}) };
  return { options: { config, host, networking: { EndpointsConfig: endpoints }, ...older }, warnings };
}

function mountFor(given: MountConfig, api: ApiVersion): MountConfig {
  const mount = { ...given };
  const options = [
    ["VolumeOptions", "volume"],
    ["BindOptions", "bind"],
    ["TmpfsOptions", "tmpfs"],
  ] as const;
  for (const [name, type] of options) {
    if (mount[name] === undefined || mount.Type === type) continue;
    if (api >= 42) throw invalidArgument(`${name} must not be specified on mount type ${JSON.stringify(mount.Type)}`);
    if (name !== "BindOptions") delete mount[name];
  }
  if (mount.BindOptions !== undefined && api < 44) {
    if (mount.BindOptions.ReadOnlyForceRecursive) throw invalidArgument("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer");
    mount.BindOptions = { ...mount.BindOptions };
    if (api < 40) delete mount.BindOptions.NonRecursive;
    if (api < 42) delete mount.BindOptions.CreateMountpoint;
  }
  if (api < 45 && mount.VolumeOptions?.Subpath) throw invalidArgument("VolumeOptions.Subpath needs API v1.45 or newer");
  if (api < 48 && mount.Type === "image") throw invalidArgument('Mount type "Image" needs API v1.48 or newer');
  return mount;
}

/** The container-wide MAC address belongs to the endpoint of its main network. Returns a warning. */
function macAddress(
  config: { MacAddress?: string | undefined },
  host: HostConfig,
  endpoints: Record<string, EndpointSettings>,
  api: ApiVersion,
): string | undefined {
  const mac = config.MacAddress ?? "";
  const mode = host.NetworkMode ?? "bridge";
  const private_ = mode !== "host" && mode !== "none" && !mode.startsWith("container:");
  if (mac !== "" && api >= 52) throw invalidArgument("container-wide MAC address no longer supported; use endpoint-specific MAC address instead");
  if (mac === "") {
    if (api < 44) for (const settings of Object.values(endpoints)) delete settings.MacAddress;
    return undefined;
  }
  if (!private_ && api < 44) throw invalidArgument("conflicting options: mac-address and the network mode");
  if (private_) {
    const settings = mainEndpoint(mode, endpoints, api);
    if (api >= 44 && (settings.MacAddress ?? "") !== "" && settings.MacAddress !== mac) {
      throw invalidArgument("the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty");
    }
    settings.MacAddress = mac;
  }
  if (api < 44) return undefined;
  delete config.MacAddress;
  return "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.";
}

/**
 * Settings of the attachment that NetworkMode names. Other names may mean the same network, so none is added beside them.
 * @throws EngineError invalidArgument
 */
function mainEndpoint(mode: string, endpoints: Record<string, EndpointSettings>, api: ApiVersion): EndpointSettings {
  const [only] = Object.values(endpoints);
  if (only === undefined) return (endpoints[mode] = {});
  const settings = api < 44 ? only : endpoints[mode];
  if (settings === undefined) throw invalidArgument("HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks");
  return settings;
}

/** Binds take the container-wide driver, mounts have one of their own. Returns a warning. */
function volumeDriver({ VolumeDriver, Mounts }: HostConfig, api: ApiVersion): string | undefined {
  if (!VolumeDriver || api < 48) return undefined;
  if (!Mounts?.some((mount) => mount.Type === "volume" && !mount.VolumeOptions?.DriverConfig?.Name)) return undefined;
  return "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead";
}

/** Since 1.46 settings of one interface belong to its endpoint; until 1.47 those of eth0 are moved there. Returns a warning. */
function interfaceSysctls(host: HostConfig, endpoints: Record<string, EndpointSettings>, api: ApiVersion): string | undefined {
  const mode = host.NetworkMode ?? "bridge";
  if (mode === "host" || mode.startsWith("container:")) return undefined;
  const found = Object.entries(host.Sysctls ?? {}).flatMap(([name, value]) => {
    const match = /^net\.([^.]+)\.([^.]+)\.(eth[^.]*)\.(.+)$/.exec(name);
    return match === null ? [] : [{ name, link: match[3], setting: `net.${match[1]}.${match[2]}.IFNAME.${match[4]}=${value}` }];
  });
  for (const { name, link } of found) {
    if (api > 47) throw invalidArgument(`interface specific sysctl setting ${JSON.stringify(name)} must be supplied using driver option '${endpointSysctls}'`);
    if (link !== "eth0") {
      throw invalidArgument(`unable to determine network endpoint for sysctl ${name}, use driver option '${endpointSysctls}' to set per-interface sysctls`);
    }
  }
  if (found.length === 0) return undefined;
  const settings = mainEndpoint(mode, endpoints, api);
  const moved = found.map(({ setting }) => setting).join(",");
  const before = settings.DriverOpts?.[endpointSysctls];
  settings.DriverOpts = { ...settings.DriverOpts, [endpointSysctls]: before === undefined ? moved : `${moved},${before}` };
  const names = new Set(found.map(({ name }) => name));
  host.Sysctls = Object.fromEntries(Object.entries(host.Sysctls ?? {}).filter(([name]) => !names.has(name)));
  return `Migrated sysctl ${JSON.stringify([...names].join(","))} to DriverOpts{${JSON.stringify(endpointSysctls)}:${JSON.stringify(moved)}}.`;
}

/**
 * An empty list of bindings means one binding with everything chosen by us. The API's text says that this ends with 1.53; engines up to the newest
 * keep it (moby issue 51727). Returns a warning.
 */
function portBindings(host: HostConfig, api: ApiVersion): string | undefined {
  const empty = Object.entries(host.PortBindings ?? {}).filter(([, bindings]) => bindings === null || bindings.length === 0);
  if (empty.length === 0) return undefined;
  host.PortBindings = { ...host.PortBindings, ...Object.fromEntries(empty.map(([port]) => [port, [{}]])) };
  if (api < 52) return undefined;
  const ports = empty.map(([port]) => port).join(", ");
  return `Following container port(s) have an empty list of port-bindings: ${ports}. Such bindings will be discarded in a future version.`;
}
