import { statSync } from "node:fs";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { DeviceRequest } from "../oci/container.ts";
import type { DeviceRule, DeviceSpec, HookSpec, HooksSpec, MountSpec } from "../oci/runtime-spec.ts";
import { readCdi, type CdiRegistry } from "./cdi.ts";
import { isQualifiedName } from "./cdi-names.ts";
import type { CdiEdits } from "./cdi-schema.ts";
import { majorOf, minorOf } from "./resources.ts";

/** What devices asked for by DeviceRequests change in a container's spec. */
export interface DeviceEdits {
  env: string[];
  devices: DeviceSpec[];
  rules: DeviceRule[];
  mounts: MountSpec[];
  hooks: HooksSpec;
  groups: number[];
}

/** Vendors whose GPUs are found by `--gpus`, in Docker's order, with the words by which they may be asked for. */
const gpuVendors = [
  { driver: "nvidia", kind: "nvidia.com/gpu", words: ["gpu", "nvidia", "compute", "compat32", "graphics", "utility", "video", "display"] },
  { driver: "amd", kind: "amd.com/gpu", words: ["gpu", "amd"] },
];

/** What can be judged without the devices: asked at create. @throws EngineError invalidArgument */
export function checkDeviceRequests(requests: readonly DeviceRequest[] | null | undefined): void {
  for (const request of requests ?? []) {
    const { Driver = "", Count = 0, DeviceIDs = [], Options = {} } = request;
    if (Driver === "cdi") {
      if (Count !== 0) throw invalidArgument("unexpected count in CDI device request");
      for (const name of DeviceIDs)
        if (!isQualifiedName(name)) throw invalidArgument(`invalid CDI device name ${JSON.stringify(name)}: want vendor.com/class=name`);
    } else if (Count !== 0 && DeviceIDs.length > 0) throw invalidArgument("cannot set both Count and DeviceIDs on device request");
    if (Object.keys(Options).length > 0) throw invalidArgument("unexpected options in CDI device request");
  }
}

/** Finds what was asked for in the CDI directories; undefined where that is nothing. @throws EngineError invalidArgument for what isn't there */
export async function resolveDeviceRequests(
  requests: readonly DeviceRequest[] | null | undefined,
  directories: readonly string[],
): Promise<DeviceEdits | undefined> {
  if (requests === null || requests === undefined || requests.length === 0) return undefined;
  const registry = await readCdi(directories);
  const names = [...new Set(requests.flatMap((request) => namesOf(request, registry)))];
  const missing = names.filter((name) => !registry.devices.has(name));
  if (missing.length > 0) {
    const why = registry.errors.length === 0 ? "" : ` (${registry.errors.join("; ")})`;
    throw invalidArgument(`CDI device injection failed: unresolvable CDI devices ${missing.join(", ")}${why}`);
  }
  const edits: DeviceEdits = { env: [], devices: [], rules: [], mounts: [], hooks: {}, groups: [] };
  const seen = new Set<string>();
  for (const name of names) {
    const { spec, edits: own } = registry.devices.get(name) as { spec: { path: string; edits: CdiEdits }; edits: CdiEdits };
    if (!seen.has(spec.path)) add(edits, name, spec.edits);
    seen.add(spec.path);
    add(edits, name, own);
  }
  return edits;
}

/** A request for GPUs means the CDI devices of a vendor whose spec is there. */
function namesOf(request: DeviceRequest, registry: CdiRegistry): string[] {
  const { Driver = "", Count = 0, DeviceIDs = [], Capabilities = [] } = request;
  if (Driver === "cdi") return DeviceIDs;
  const vendor = gpuVendors.find(({ driver, kind, words }) => {
    if (![...registry.devices.keys()].some((name) => name.startsWith(`${kind}=`))) return false;
    return Driver === "" ? Capabilities.some((all) => all.every((word) => words.includes(word))) : Driver === driver || Driver === `${driver}.cdi`;
  });
  if (vendor === undefined) {
    const shown = Capabilities.map((all) => `[${all.join(" ")}]`).join(" ");
    throw invalidArgument(`could not select device driver ${JSON.stringify(Driver)} with capabilities: [${shown}]`);
  }
  const ids = DeviceIDs.length > 0 ? DeviceIDs : Count < 0 ? ["all"] : Array.from({ length: Count }, (_, index) => String(index));
  return ids.map((id) => (id.includes("=") ? id : `${vendor.kind}=${id}`));
}

function add(edits: DeviceEdits, name: string, given: CdiEdits): void {
  if (given.netDevices.length > 0) throw invalidArgument(`CDI device ${name} asks for netDevices, which no runtime here can give`);
  if (given.intelRdt !== undefined && given.intelRdt !== null) throw invalidArgument(`CDI device ${name} asks for intelRdt, which is not supported`);
  edits.env.push(...given.env);
  for (const node of given.deviceNodes) {
    const device = deviceOf(name, node);
    edits.devices = [...edits.devices.filter(({ path }) => path !== device.path), device];
    if (device.type === "p") continue;
    edits.rules.push({ allow: true, type: device.type, major: device.major ?? 0, minor: device.minor ?? 0, access: node.permissions || "rwm" });
  }
  for (const { hostPath, containerPath, options, type } of given.mounts) {
    const isBind = options.includes("bind") || options.includes("rbind");
    const kind = type || "bind";
    const mount = { destination: containerPath, type: kind, source: hostPath, options: kind !== "bind" || isBind ? options : ["rbind", ...options] };
    edits.mounts = [...edits.mounts.filter(({ destination }) => destination !== containerPath), mount];
  }
  for (const { hookName, ...hook } of given.hooks) (edits.hooks[hookName] ??= []).push(hook satisfies HookSpec);
  edits.groups.push(...given.additionalGids.filter((gid) => gid !== 0));
}

/** What the file leaves out is as on the host. */
function deviceOf(name: string, node: CdiEdits["deviceNodes"][number]): DeviceSpec {
  const { path, hostPath = path, uid, gid } = node;
  const owner = { ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) };
  const isWhole = node.type !== undefined && (Boolean(node.major) || node.type === "p") && node.fileMode !== undefined;
  if (isWhole) return { path, type: typeOf(node.type), major: node.major ?? 0, minor: node.minor ?? 0, fileMode: node.fileMode ?? 0, ...owner };
  let found: { isBlock: boolean; isFifo: boolean; isCharacter: boolean; rdev: number; mode: number };
  try {
    const stat = statSync(hostPath);
    found = { isBlock: stat.isBlockDevice(), isFifo: stat.isFIFO(), isCharacter: stat.isCharacterDevice(), rdev: stat.rdev, mode: stat.mode };
  } catch (error) {
    throw invalidArgument(`CDI device injection failed: device ${name}: ${messageOf(error)}`, error);
  }
  const type = found.isCharacter ? "c" : found.isBlock ? "b" : found.isFifo ? "p" : undefined;
  if (type === undefined) throw invalidArgument(`CDI device injection failed: device ${name}: ${hostPath} is no device`);
  if (node.type !== undefined && typeOf(node.type) !== type) {
    throw invalidArgument(`CDI device injection failed: device ${name}: ${hostPath} is of type ${type}, not ${node.type}`);
  }
  const fileMode = node.fileMode ?? found.mode & 0o7777;
  if (node.major) return { path, type, major: node.major, minor: node.minor ?? 0, fileMode, ...owner };
  return { path, type, ...(type === "p" ? {} : { major: majorOf(found.rdev), minor: minorOf(found.rdev) }), fileMode, ...owner };
}

/** `u` is the older word for an unbuffered, that is a character device. */
const typeOf = (type: "b" | "c" | "u" | "p" | undefined): DeviceSpec["type"] => (type === "u" ? "c" : (type ?? "c"));
