import { isIP } from "node:net";
import { parseMinimum } from "../api/versions.ts";
import { createRegistryClient } from "../distribution/client.ts";
import { invalidArgument, messageOf, notImplemented } from "../lib/errors.ts";
import { silent } from "../lib/log.ts";
import { checkLogOptions } from "../logs/options.ts";
import { meansDefault } from "../runtime/runtime.ts";
import { checkNetworks } from "./check-networks.ts";
import { lowWatermark } from "./gc-options.ts";
import type { DaemonOptions } from "./options.ts";
import { parseRegistryAddress } from "./registry-address.ts";
import { storageSize } from "./storage-options.ts";

/**
 * All that can be judged of the settings without touching the host; what is missing on it (a runtime's program, a certificate) is told when it is used.
 * The sentences are dockerd's. @throws EngineError invalidArgument, notImplemented
 */
export function checkOptions(options: DaemonOptions): void {
  checkLogs(options);
  options.labels = checkLabels(options.labels);
  for (const address of options.dns) if (isIP(address) === 0) throw invalidArgument(`invalid IP address: ${address}`);
  const families = options.hostGatewayIps.map(isIP);
  if (families.includes(0)) throw invalidArgument(`invalid host-gateway-ip: ${options.hostGatewayIps.join(", ")}: want IP addresses`);
  if (new Set(families).size < families.length) throw invalidArgument("only one IPv4 and one IPv6 host-gateway-ip can be specified");
  for (const domain of options.dnsSearch) {
    if (domain !== "." && !/^[A-Za-z0-9]([\w-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([\w-]*[A-Za-z0-9])?)*\.?$/.test(domain)) {
      throw invalidArgument(`invalid domain: ${domain}`);
    }
  }
  for (const option of options.execOpts) checkExecOption(option);
  for (const { base, size } of options.defaultAddressPools) checkPool(base, size);
  checkCounts(options);
  options.imageGcLow = lowWatermark(options.imageGcHigh, options.imageGcLow);
  storageSize(options.storageOpts);
  parseMinimum(options.minApiVersion);
  checkNetworks(options);
  const { defaultRuntime, runtimes } = options;
  if (!meansDefault(defaultRuntime, runtimes) && defaultRuntime !== "crun" && runtimes[defaultRuntime] === undefined) {
    throw invalidArgument(`the default runtime ${defaultRuntime} is not known`);
  }
  if (options.registry !== "") parseRegistryAddress(options.registry);
  if (options.registryConfig !== "" && options.registry === "") throw invalidArgument("--registry-config needs --registry, the address to listen on");
  if (options.metricsAddr !== "") parseMetricsAddress(options.metricsAddr);
  // parses mirrors and insecure registries, and does nothing more
  createRegistryClient({ insecure: options.insecureRegistries, mirrors: options.registryMirrors, mirrorsOf: options.mirrors, log: silent });
}

function checkLogs({ logDriver, logOpts }: DaemonOptions): void {
  try {
    checkLogOptions(logDriver, logOpts);
  } catch (error) {
    throw invalidArgument(`failed to set log opts: ${messageOf(error)}`, error);
  }
}

/** `key=value` each, a key twice only with the same value. */
function checkLabels(labels: readonly string[]): string[] {
  const seen = new Map<string, string>();
  for (const label of labels) {
    const at = label.indexOf("=");
    if (at < 1) throw invalidArgument(`bad attribute format: ${label}`);
    const [key, value] = [label.slice(0, at), label.slice(at + 1)];
    const before = seen.get(key);
    if (before !== undefined && before !== value) throw invalidArgument(`conflict labels for ${key}=${value} and ${key}=${before}`);
    seen.set(key, value);
  }
  return [...new Set(labels)];
}

function checkExecOption(option: string): void {
  const [, name, value] = /^\s*([^=\s]+)\s*=\s*(\S+)\s*$/.exec(option) ?? [];
  if (name === undefined) throw invalidArgument(`invalid exec-opt (${option}): must be formatted 'opt=value'`);
  if (name.toLowerCase() !== "native.cgroupdriver") throw invalidArgument(`invalid exec-opt (${option}): unknown option: '${name}'`);
  if (value === "systemd") throw notImplemented(`exec-opt ${option}: the cgroup driver of this engine is cgroupfs, systemd's is not supported yet`);
  if (value !== "cgroupfs") throw invalidArgument(`invalid exec-opt (${option}): native.cgroupdriver only supports 'cgroupfs'`);
}

function checkPool(base: unknown, size: unknown): void {
  const [address = "", prefix = ""] = String(base).split("/");
  const bits = isIP(address) === 4 ? 32 : isIP(address) === 6 ? 128 : 0;
  if (bits === 0 || !/^\d{1,3}$/.test(prefix) || Number(prefix) > bits)
    throw invalidArgument(`invalid base pool ${JSON.stringify(base)}: want a network such as 10.0.0.0/8`);
  if (!Number.isInteger(size) || Number(size) < Number(prefix) || Number(size) > bits)
    throw invalidArgument(`invalid pool size ${String(size)} for base ${String(base)}`);
}

function checkCounts(options: DaemonOptions): void {
  const counts: [string, number][] = [
    ["max concurrent downloads", options.maxConcurrentDownloads],
    ["max concurrent uploads", options.maxConcurrentUploads],
    ["max download attempts", options.maxDownloadAttempts],
  ];
  for (const [name, count] of counts) if (count < 1) throw invalidArgument(`invalid ${name}: ${count}`);
  if (options.maxLayerEntries < 0) throw invalidArgument(`invalid max layer entries: ${options.maxLayerEntries}`);
  if (options.stopTimeout < 0) throw invalidArgument(`invalid default stop timeout: ${options.stopTimeout}`);
  if (options.cpuRtPeriod < 0 || options.cpuRtRuntime < 0) throw invalidArgument("cpu-rt-period and cpu-rt-runtime must not be negative");
  if (options.cpuRtPeriod !== 0 && options.cpuRtRuntime > options.cpuRtPeriod) throw invalidArgument("cpu-rt-runtime cannot be higher than cpu-rt-period");
  if (options.shutdownTimeout < -1) throw invalidArgument(`invalid shutdown timeout: ${options.shutdownTimeout}: want seconds, or -1 to wait without a limit`);
}

/** `host:port`, `:port` (every address) or `[v6]:port`. @throws EngineError invalidArgument */
export function parseMetricsAddress(text: string): { host: string; port: number } {
  const [, bracketed, plain = "", port = ""] = /^(?:\[([^\]]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text) ?? [];
  if (port === "" || Number(port) > 65535) throw invalidArgument(`invalid metrics address ${JSON.stringify(text)}: want HOST:PORT`);
  return { host: bracketed ?? (plain === "" ? "::" : plain), port: Number(port) };
}
