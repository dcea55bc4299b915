import { invalidArgument, notFound, permissionDenied } from "../lib/errors.ts";
import type { NetworkContext } from "./context.ts";
import { checkSubnets } from "./network-config.ts";
import type { NetworkRecord, NetworkWish } from "./types.ts";

/**
 * Networks that only hold configuration (`--config-only`), and those that take theirs from one (`--config-from`). Rules and texts are moby's
 * (daemon/libnetwork/network.go, validateConfiguration).
 */

/** What is asked of a network's scope, and of who configures it. @throws EngineError permissionDenied, invalidArgument */
export function checkKind(wish: NetworkWish): void {
  const { configOnly, configFrom, ingress, internal, attachable, scope = "" } = wish;
  if (configOnly === true) {
    if (ingress === true || internal === true || attachable === true || scope !== "")
      throw permissionDenied(
        "configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported.",
      );
    if (configFrom !== undefined) throw permissionDenied("a configuration network cannot depend on another configuration network");
    checkSubnets(wish.ipam?.config ?? [], { 4: wish.enableIPv4 ?? true, 6: wish.enableIPv6 ?? false });
    return;
  }
  if (configFrom !== undefined && hasOwnConfiguration(wish))
    throw permissionDenied("user-specified configurations are not supported if the network depends on a configuration network");
  if (configFrom !== undefined && Object.keys(wish.options ?? {}).length > 0)
    throw permissionDenied("network driver options are not supported if the network depends on a configuration network");
  if (ingress === true) throw permissionDenied("Ingress network can only be global scope network");
  if (scope === "swarm") throw permissionDenied("cannot create a swarm scoped network when swarm is not active");
  if (!["", "local", "global"].includes(scope)) throw invalidArgument(`invalid network scope ${JSON.stringify(scope)}: want local, global or swarm`);
}

function hasOwnConfiguration({ enableIPv4 = true, enableIPv6 = false, labels = {}, ipam }: NetworkWish): boolean {
  const { driver = "", options = {}, config = [] } = ipam ?? {};
  return !enableIPv4 || enableIPv6 || !["", "default"].includes(driver) || [labels, options, config].some((each) => Object.keys(each).length > 0);
}

/** The wish with what the network it names has: families, labels, addresses and options. @throws EngineError notFound */
export function takeConfiguration(ctx: NetworkContext, wish: NetworkWish): NetworkWish {
  if (wish.configFrom === undefined) return wish;
  const source = ctx.records.byName(wish.configFrom);
  if (source?.configOnly !== true) throw notFound(`configuration network ${JSON.stringify(wish.configFrom)} does not exist`);
  const { enableIPv4, enableIPv6, labels, ipam, options } = structuredClone(source);
  return { ...wish, enableIPv4, enableIPv6, labels, ipam, options };
}

/** @throws EngineError permissionDenied while another network has its configuration from this one */
export function checkUnused(ctx: NetworkContext, network: NetworkRecord): void {
  if (network.configOnly === true && ctx.records.list().some((other) => other.configFrom === network.name))
    throw permissionDenied(`error while removing network: configuration network ${JSON.stringify(network.name)} is in use`);
}
