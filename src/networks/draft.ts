import { invalidArgument } from "../lib/errors.ts";
import { parseBool } from "../lib/bool.ts";
import { newId } from "./network-config.ts";
import type { NetworkRecord, NetworkWish } from "./types.ts";

/** A new network's record with Docker's defaults. */
export function draft(options: NetworkWish): NetworkRecord {
  return {
    ...(options.configOnly === true ? { configOnly: true } : {}),
    ...(options.configFrom === undefined ? {} : { configFrom: options.configFrom }),
    id: newId(),
    name: options.name,
    // moby: so that engines which know no such networks can't use one
    driver: options.configOnly === true ? "null" : driverName(options),
    created: new Date().toISOString(),
    scope: options.scope === "global" ? "global" : "local",
    internal: options.internal ?? false,
    attachable: options.attachable ?? false,
    enableIPv4: options.enableIPv4 ?? true,
    enableIPv6: options.enableIPv6 ?? false,
    ipam: {
      driver: options.ipam?.driver === undefined || options.ipam.driver === "" ? "default" : options.ipam.driver,
      ...(options.ipam?.options === undefined ? {} : { options: options.ipam.options }),
      config: options.ipam?.config ?? [],
    },
    options: options.options ?? {},
    labels: options.labels ?? {},
  };
}

/** Options that stand for fields of the request, for `--default-network-opt` (moby daemon/network.go). */
const familyOption = { enableIPv4: "com.docker.network.enable_ipv4", enableIPv6: "com.docker.network.enable_ipv6" } as const;

const driverName = ({ driver = "" }: NetworkWish): string => (driver === "" || driver === "default" ? "bridge" : driver);

/** Fills in what the settings say of new networks of a driver. What the network itself says goes first. @throws EngineError invalidArgument */
export function withDefaultOptions(wish: NetworkWish, defaults: Readonly<Record<string, Readonly<Record<string, string>>>>): NetworkWish {
  const result: NetworkWish = { ...wish, options: { ...(wish.configFrom === undefined ? defaults[driverName(wish)] : {}), ...wish.options } };
  for (const field of ["enableIPv4", "enableIPv6"] as const) {
    const option = familyOption[field];
    const { [option]: text, ...rest } = result.options ?? {};
    // the field says it: the option would look wrong in inspect
    if (wish[field] !== undefined) result.options = rest;
    else if (text !== undefined) result[field] = parseBool(text, () => invalidArgument(`driver-opt ${JSON.stringify(option)} is not a valid bool`));
  }
  return result;
}
