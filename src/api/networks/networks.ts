import { invalidArgument, kindOf, notFound, permissionDenied } from "../../lib/errors.ts";
import type { NetworkRecord } from "../../networks/types.ts";
import { endpointSettings } from "../containers/schemas.ts";
import { endpoint, json, noContent, type Call } from "../endpoint.ts";
import { parseBool } from "../../lib/bool.ts";
import { hasLabel } from "../../lib/match.ts";
import { matchesLabels, matchesPattern } from "../match.ts";
import { untilFilter } from "../prune.ts";
import { bool, list, object, text, textMap } from "../schema.ts";
import { noSwarm } from "../system/absent.ts";
import { toNetwork } from "./convert.ts";

const predefined = ["bridge", "host", "none"];

/** A container's name for inspect; one that has just gone leaves its id. */
const nameOf =
  ({ services }: Call<unknown>) =>
  (container: string): string => {
    try {
      return services.containers.get(container).name;
    } catch (error) {
      if (kindOf(error) !== "notFound") throw error;
      return container;
    }
  };

function listing(call: Call): unknown[] {
  const { services, query, api } = call;
  const filters = query.filters(["dangling", "driver", "id", "label", "name", "scope", "type"]);
  const dangling = danglingFilter(filters["dangling"]);
  const fits = (record: NetworkRecord): boolean => {
    const any = (name: string, test: (value: string) => boolean): boolean => filters[name] === undefined || filters[name].some(test);
    return (
      any("driver", (driver) => driver === record.driver) &&
      any("id", (id) => record.id.startsWith(id)) &&
      any("name", (name) => matchesPattern(name, record.name)) &&
      any("scope", (scope) => scope === record.scope) &&
      any("type", (type) => isType(record, type)) &&
      (dangling === undefined || isDangling(call, record) === dangling) &&
      matchesLabels(record.labels, filters.label)
    );
  };
  return services.networks
    .list()
    .filter(fits)
    .map((record) => toNetwork(record, { api, nameOf: nameOf(call) }));
}

function isType(record: NetworkRecord, type: string): boolean {
  if (type !== "custom" && type !== "builtin") throw invalidArgument(`invalid filter: 'type'='${type}'`);
  return predefined.includes(record.name) === (type === "builtin");
}

/** @throws EngineError invalidArgument in Docker's words */
function danglingFilter([value, ...more]: readonly string[] = []): boolean | undefined {
  if (more.length > 0) throw invalidArgument('got more than one value for filter key "dangling"');
  if (value !== undefined && !["true", "1", "false", "0"].includes(value))
    throw invalidArgument(`invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`);
  return value === undefined ? undefined : value === "true" || value === "1";
}

function isDangling({ services }: Call<unknown>, record: NetworkRecord): boolean {
  return !predefined.includes(record.name) && services.networks.endpointsOf(record.id).length === 0;
}

export const listNetworks = endpoint({ method: "GET", path: "/networks", handler: (call) => json(listing(call)) });
export const listNetworksSlash = endpoint({ method: "GET", path: "/networks/", handler: (call) => json(listing(call)) });

export const inspectNetwork = endpoint({
  method: "GET",
  path: "/networks/{id}",
  handler: (call) => {
    const { services, params, query, api } = call;
    const verbose = query.text("verbose"); // would add services, which there are none of
    if (verbose !== "") parseBool(verbose, (why) => invalidArgument(`invalid value for verbose: ${verbose}: ${why}`));
    const { networks } = services;
    const record = networks.resolve(params.id!);
    const scope = query.text("scope");
    if (scope !== "" && scope !== record.scope) throw notFound(`network ${params.id} not found`);
    return json(toNetwork(record, { api, endpoints: networks.endpointsOf(record.id), subnets: networks.subnetsOf(record.id), nameOf: nameOf(call) }));
  },
});

const createRequest = object({
  Name: text.default(""),
  Driver: text.optional(),
  Scope: text.optional(),
  Internal: bool.optional(),
  Attachable: bool.optional(),
  Ingress: bool.optional(),
  ConfigOnly: bool.optional(),
  ConfigFrom: object({ Network: text.optional() }).optional(),
  EnableIPv4: bool.optional(),
  EnableIPv6: bool.optional(),
  IPAM: object({
    Driver: text.optional(),
    Options: textMap.optional(),
    Config: list(object({ Subnet: text.optional(), IPRange: text.optional(), Gateway: text.optional(), AuxiliaryAddresses: textMap.optional() })).optional(),
  }).optional(),
  Options: textMap.optional(),
  Labels: textMap.optional(),
});

export const createNetwork = endpoint({
  method: "POST",
  path: "/networks/create",
  body: createRequest,
  bodyRequired: true,
  handler: async ({ services, body, api }) => {
    // Docker's networks of that driver are the swarm's, whatever else is asked of them
    if (body.Driver === "overlay") throw permissionDenied(noSwarm);
    const record = await services.networks.create({
      name: body.Name,
      driver: body.Driver || "bridge",
      scope: body.Scope ?? "",
      ingress: body.Ingress ?? false,
      configOnly: body.ConfigOnly ?? false,
      ...(body.ConfigFrom?.Network ? { configFrom: body.ConfigFrom.Network } : {}),
      internal: body.Internal ?? false,
      attachable: body.Attachable ?? false,
      ...(body.EnableIPv4 === undefined || api < 48 ? {} : { enableIPv4: body.EnableIPv4 }),
      ...(body.EnableIPv6 === undefined ? {} : { enableIPv6: body.EnableIPv6 }),
      ipam: {
        driver: body.IPAM?.Driver || "default",
        ...(body.IPAM?.Options === undefined ? {} : { options: body.IPAM.Options }),
        config: (body.IPAM?.Config ?? []).map((config) => ({
          subnet: config.Subnet ?? "",
          ...(config.IPRange ? { ipRange: config.IPRange } : {}),
          ...(config.Gateway ? { gateway: config.Gateway } : {}),
          ...(config.AuxiliaryAddresses === undefined ? {} : { auxAddresses: config.AuxiliaryAddresses }),
        })),
      },
      options: body.Options ?? {},
      labels: body.Labels ?? {},
    });
    return json({ Id: record.id, Warning: "" }, 201);
  },
});

export const deleteNetwork = endpoint({
  method: "DELETE",
  path: "/networks/{id}",
  handler: async ({ services, params }) => {
    await services.networks.remove(params.id!);
    return noContent;
  },
});

export const pruneNetworks = endpoint({
  method: "POST",
  path: "/networks/prune",
  since: 25,
  handler: async ({ services, query }) => {
    const filters = query.filters(["label", "label!", "until"]);
    const until = untilFilter(filters);
    const keep = ({ labels, created }: NetworkRecord): boolean =>
      !matchesLabels(labels, filters.label) ||
      (filters["label!"] ?? []).some((label) => hasLabel(labels, label)) ||
      (until !== undefined && Date.parse(created) > until);
    const deleted = await services.networks.prune(keep);
    return json({ NetworksDeleted: deleted.length === 0 ? null : deleted });
  },
});

export const connectNetwork = endpoint({
  method: "POST",
  path: "/networks/{id}/connect",
  body: object({ Container: text.default(""), EndpointConfig: endpointSettings.optional() }),
  handler: async ({ services, params, body, api }) => {
    const { MacAddress, ...settings } = body.EndpointConfig ?? {};
    // before, clients sent what inspect had told them
    const asked = MacAddress === undefined || api < 54 ? settings : { ...settings, MacAddress };
    await services.containers.connectNetwork(body.Container, params.id!, asked);
    return { status: 200 };
  },
});

export const disconnectNetwork = endpoint({
  method: "POST",
  path: "/networks/{id}/disconnect",
  body: object({ Container: text.default(""), Force: bool.optional() }),
  handler: async ({ services, params, body }) => {
    await services.containers.disconnectNetwork(body.Container, params.id!, { force: body.Force ?? false });
    return { status: 200 };
  },
});
