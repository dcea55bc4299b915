import { randomBytes } from "node:crypto";
import { EngineError, invalidArgument, messageOf, notFound, permissionDenied } from "../lib/errors.ts";
import { type Address, formatAddress, formatMac, macFor, parseAddress, parseMac } from "../lib/address.ts";
import { type GivenAddress, hasStaticAddress } from "./address-book.ts";
import { bridgeOption, parseBridgeOptions } from "./bridge-options.ts";
import { driverOf, emitNetworkEvent, isClosed, isPredefined, type NetworkContext } from "./context.ts";
import type { Awaitable, NetworkDriver } from "./driver.ts";
import { settleDefaultRoutes } from "./default-routes.ts";
import { isElsewhere, makeElsewhere } from "./elsewhere.ts";
import { type EndpointOptions, parseEndpointOptions } from "./endpoint-options.ts";
import { newId } from "./network-config.ts";
import { withoutRouted } from "./own-address-ports.ts";
import { parseBindings } from "./port-requests.ts";
import { PORTS_AT_ONCE, type PortTarget } from "./ports.ts";
import type { StoredEndpoint } from "./records.ts";
import { nextTurn } from "../lib/turns.ts";
import { isNdots } from "./resolv-conf.ts";
import { releaseEndpoint } from "./release.ts";
import type { ConnectOptions, NetworkRecord, PublishedPort } from "./types.ts";

/** Records an endpoint: addresses, MAC, names, host ports. Nothing of the kernel is touched but the ports' sockets. */
export function allocate(ctx: NetworkContext, options: ConnectOptions): Awaitable<StoredEndpoint> {
  const network = ctx.records.resolve(options.network);
  if (network.configOnly === true) throw permissionDenied("cannot create endpoint on configuration-only network");
  const driver = driverOf(ctx, network.driver);
  checkSettings(network, options);
  const mac = wantedMac(driver, options);
  const wanted = parseEndpointOptions(options.settings);
  // a start that was killed between its steps may have left one
  const left = ctx.records.endpointsOfContainer(options.containerId).find((endpoint) => endpoint.networkId === network.id);
  if (left !== undefined) void releaseEndpoint(ctx, left, { lives: false });

  const id = newId();
  const ipam = options.settings.IPAMConfig;
  if (isElsewhere(ctx, network)) return allocateElsewhere(ctx, network, id, options, mac, wanted);
  let ipv4: GivenAddress | undefined;
  let ipv6: GivenAddress | undefined;
  let published = false;
  const undo = (): void => {
    if (published) ctx.ports.release(options.containerId);
    if (ipv4 !== undefined) ctx.addresses.free(network.id, formatAddress(ipv4.address));
    if (ipv6 !== undefined) ctx.addresses.free(network.id, formatAddress(ipv6.address));
  };
  const record = (ports: PublishedPort[]): StoredEndpoint => {
    published = ports.length > 0;
    if (ctx.records.byId(network.id) === undefined) throw notFound(`network ${network.name} not found`);
    const endpoint = build(ctx, network, id, options, { ipv4, ipv6, mac, ports, wanted });
    ctx.store.tx(() => {
      settleWith(ctx, endpoint);
      ctx.records.insertEndpoint(endpoint);
      emitNetworkEvent(ctx, "connect", network, options.containerId);
    });
    return endpoint;
  };
  try {
    if (driver.addresses) {
      ipv4 = ctx.addresses.take(network.id, 4, ipam?.IPv4Address);
      ipv6 = ctx.addresses.take(network.id, 6, ipam?.IPv6Address);
    }
    const ports = publish(ctx, network, id, options, { ...(ipv4 && { ipv4: ipv4.address }), ...(ipv6 && { ipv6: ipv6.address }) });
    if (!(ports instanceof Promise)) return record(ports);
    const recorded = ports.then(record).catch((error: unknown) => {
      undo();
      throw error;
    });
    // thousands of ports: writing them down took a while
    return recorded.then((endpoint) => nextTurn().then(() => endpoint));
  } catch (error) {
    undo();
    throw error;
  }
}

/** As `allocate`, where plugins are asked first. */
async function allocateElsewhere(
  ctx: NetworkContext,
  network: NetworkRecord,
  id: string,
  options: ConnectOptions,
  mac: Uint8Array | undefined,
  wanted: EndpointOptions,
): Promise<StoredEndpoint> {
  const { IPAMConfig, DriverOpts } = options.settings;
  const wish = { ipv4: IPAMConfig?.IPv4Address, ipv6: IPAMConfig?.IPv6Address, mac: mac === undefined ? "" : formatMac(mac) };
  let isPublished = false;
  try {
    return await makeElsewhere(ctx, network, wish, {
      id,
      containerId: options.containerId,
      build: async ({ ipv4, ipv6, mac: given }) => {
        const ports = await publish(ctx, network, id, options, { ...(ipv4 && { ipv4: ipv4.address }), ...(ipv6 && { ipv6: ipv6.address }) });
        isPublished = ports.length > 0;
        const endpoint = build(ctx, network, id, options, { ipv4, ipv6, mac: given === "" ? undefined : parseMac(given), ports, wanted });
        if (driverOf(ctx, network.driver).ports === "driver") endpoint.asked = { options: DriverOpts ?? {}, ports: options.portBindings };
        return endpoint;
      },
      record: (endpoint) =>
        ctx.store.tx(() => {
          settleWith(ctx, endpoint);
          ctx.records.forgetElsewhere(id);
          ctx.records.insertEndpoint(endpoint);
          emitNetworkEvent(ctx, "connect", network, options.containerId);
        }),
    });
  } catch (error) {
    if (isPublished) ctx.ports.release(options.containerId);
    throw error;
  }
}

/** Decides whether a new endpoint gives default routes; who gave them until now may no longer do so. */
function settleWith(ctx: NetworkContext, endpoint: StoredEndpoint): void {
  const all = [...ctx.records.endpointsOfContainer(endpoint.containerId), endpoint];
  for (const changed of settleDefaultRoutes(ctx, all)) if (changed !== endpoint) ctx.records.updateEndpoint(changed);
}

/** Docker's rules for what may be asked on which network (moby daemon/container_operations.go). */
function checkSettings(network: NetworkRecord, { settings }: ConnectOptions): void {
  if (!isPredefined(network.name)) return;
  if (hasStaticAddress(settings.IPAMConfig))
    throw invalidArgument("invalid endpoint settings:\nuser-specified IP address is supported on user-defined networks only");
  if ((settings.Aliases ?? []).length > 0) {
    throw invalidArgument("invalid endpoint settings:\nnetwork-scoped alias is supported only for containers in user defined networks");
  }
}

function wantedMac(driver: NetworkDriver, { settings }: ConnectOptions): Uint8Array | undefined {
  if (settings.MacAddress === undefined || settings.MacAddress === "") return undefined;
  if (driver.addresses && driver.mac === "none") throw invalidArgument(`${driver.name} interfaces do not support custom mac address assignment`);
  const mac = parseMac(settings.MacAddress);
  if (mac === undefined) throw invalidArgument(`invalid MAC address: ${settings.MacAddress}`);
  return mac;
}

/** Ports lead into networks that lead out. @throws EngineError in Docker's words, naming the endpoint */
export function publish(
  ctx: NetworkContext,
  network: NetworkRecord,
  endpointId: string,
  options: Pick<ConnectOptions, "containerId" | "containerName" | "portBindings">,
  target: PortTarget,
): Awaitable<PublishedPort[]> {
  if (Object.keys(options.portBindings).length === 0 || network.internal || driverOf(ctx, network.driver).ports !== "engine") return [];
  const bridge = parseBridgeOptions(network);
  const fallback = bridge.hostBinding ?? parseAddress(ctx.options.ip) ?? ({ family: 4, value: 0n } satisfies Address);
  const { requests, opened } = withoutRouted(parseBindings(options.portBindings, fallback, ctx.ports.ipv6), bridge, target);
  const failure = (error: unknown): unknown => {
    if (!(error instanceof EngineError)) return error;
    const where = `driver failed programming external connectivity on endpoint ${options.containerName} (${endpointId})`;
    return new EngineError(error.kind, `failed to set up container networking: ${where}: ${messageOf(error)}`, { cause: error });
  };
  if (requests.length > PORTS_AT_ONCE)
    return ctx.ports.reserveInTurns(options.containerId, requests, target).then(
      (held) => [...held, ...opened],
      (error: unknown) => {
        throw failure(error);
      },
    );
  try {
    return [...ctx.ports.reserve(options.containerId, requests, target), ...opened];
  } catch (error) {
    throw failure(error);
  }
}

interface Given {
  ipv4: GivenAddress | undefined;
  ipv6: GivenAddress | undefined;
  mac: Uint8Array | undefined;
  ports: PublishedPort[];
  wanted: EndpointOptions;
}

function build(ctx: NetworkContext, network: NetworkRecord, id: string, options: ConnectOptions, { ipv4, ipv6, mac, ports, wanted }: Given): StoredEndpoint {
  const { interfaceName, ...kept } = wanted;
  const driver = driverOf(ctx, network.driver);
  const others = ctx.records.endpointsOfContainer(options.containerId);
  if (interfaceName !== undefined && others.some((other) => other.containerInterface === interfaceName)) {
    throw invalidArgument(`interface name ${interfaceName} is already in use in container ${options.containerName}`);
  }
  const first = ipv4 ?? ipv6;
  const hasLink = first !== undefined || driver.mac === "driver";
  const endpoint: StoredEndpoint = {
    id,
    networkId: network.id,
    networkName: network.name,
    containerId: options.containerId,
    containerName: options.containerName,
    hostInterface: first === undefined ? "" : (driver.hostInterface?.(id) ?? ""),
    containerInterface: !hasLink ? "" : (interfaceName ?? freeInterface(network, others)),
    macAddress: mac === undefined ? macOf(driver, first?.address) : formatMac(mac),
    dnsNames: isPredefined(network.name) ? [] : namesOf(options),
    ports,
    order: ctx.records.nextOrder(),
    defaultRoute: false, // settled among all of the container's
    ...kept,
  };
  const links = isPredefined(network.name) ? {} : linksOf(options);
  if (Object.keys(links).length > 0) endpoint.links = links;
  if (options.dns !== undefined && options.dns.length > 0) endpoint.dnsServers = [...options.dns];
  if (options.dnsOptions?.some(isNdots)) endpoint.dnsNdots = true;
  if (options.ownsLinks === true) endpoint.ownsLinks = true;
  if (ipv4 !== undefined) Object.assign(endpoint, { ipv4: formatAddress(ipv4.address), ipv4PrefixLength: ipv4.prefixLength });
  if (ipv6 !== undefined) Object.assign(endpoint, { ipv6: formatAddress(ipv6.address), ipv6PrefixLength: ipv6.prefixLength });
  if (ipv4?.gateway !== undefined && !isClosed(network)) endpoint.gateway = ipv4.gateway;
  if (ipv6?.gateway !== undefined && !isClosed(network)) endpoint.gateway6 = ipv6.gateway;
  return endpoint;
}

function macOf(driver: NetworkDriver, address: Address | undefined): string {
  if (driver.mac === "none" || driver.mac === "driver" || address === undefined) return "";
  // locally administered: on a link that is shared with others, nothing but chance tells two hosts' containers apart
  return formatMac(driver.mac === "address" ? macFor(address) : Uint8Array.of(0x02, ...randomBytes(5)));
}

function freeInterface(network: NetworkRecord, others: readonly StoredEndpoint[]): string {
  const prefix = network.options[bridgeOption.interfacePrefix] || "eth";
  const used = new Set(others.map((other) => other.containerInterface));
  let number = 0;
  while (used.has(`${prefix}${number}`)) number++;
  return `${prefix}${number}`;
}

/** `container[:alias]` of EndpointSettings.Links (`docker run --link`, `links` of Compose). */
function linksOf({ settings }: ConnectOptions): Record<string, string> {
  return Object.fromEntries(
    (settings.Links ?? []).map((link) => {
      const [container = "", alias = container] = link.replace(/^\//, "").split(":");
      return [alias.toLowerCase(), container.toLowerCase()];
    }),
  );
}

/** In Docker's order: the first gives the PTR record. */
export function namesOf({
  containerName,
  containerId,
  hostname,
  settings,
}: Pick<ConnectOptions, "containerName" | "containerId" | "hostname" | "settings">): string[] {
  const all = [containerName, ...(settings.Aliases ?? []), containerId.slice(0, 12), hostname];
  return [...new Set(all.filter((name) => name !== ""))];
}
