import type { DeviceMapping, DeviceRequest, RestartPolicy, ThrottleDevice, Ulimit } from "../../oci/container.ts";
import { CliError } from "../errors.ts";
import { parseBytes } from "../../lib/bytes.ts";

/** `no`, `always`, `unless-stopped`, `on-failure[:retries]`, and Berth's own `on-unhealthy[:retries]`. @throws CliError */
export function parseRestart(text: string): RestartPolicy {
  const [name = "", retries, ...more] = text.split(":");
  if (more.length > 0) throw new CliError("invalid restart policy format: too many colons");
  if (!["", "no", "always", "unless-stopped", "on-failure", "on-unhealthy"].includes(name)) {
    throw new CliError(`invalid restart policy: unknown policy '${name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`);
  }
  if (retries !== undefined && !/^\d+$/.test(retries)) throw new CliError("invalid restart policy format: maximum retry count must be an integer");
  return { Name: name as NonNullable<RestartPolicy["Name"]>, MaximumRetryCount: Number(retries ?? 0) };
}

/** `nofile=1024:2048`, `nproc=64`. @throws CliError */
export function parseUlimit(text: string): Ulimit {
  const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(text);
  if (match === null) throw new CliError(`invalid ulimit argument: ${text}`);
  const soft = Number(match[2]);
  const hard = Number(match[3] ?? match[2]);
  if (hard >= 0 && soft > hard) throw new CliError(`ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`);
  return { Name: match[1] as string, Soft: soft, Hard: hard };
}

/** `/dev/x`, `/dev/x:/dev/y`, `/dev/x:/dev/y:rwm`, `/dev/x:r`. @throws CliError */
export function parseDevice(text: string): DeviceMapping {
  const isMode = (part: string): boolean => /^[rwm]{1,3}$/.test(part);
  const [host = "", second, third, ...more] = text.split(":");
  if (more.length > 0) throw new CliError(`invalid device specification: ${text}`);
  if (third !== undefined && !isMode(third)) throw new CliError(`${third}: invalid mode`);
  const secondIsMode = second !== undefined && third === undefined && isMode(second);
  const inside = second === undefined || second === "" || secondIsMode ? host : second;
  if (!inside.startsWith("/")) throw new CliError(`${inside} is not an absolute path`);
  return { PathOnHost: host, PathInContainer: inside, CgroupPermissions: third ?? (secondIsMode ? second : "rwm") };
}

/** `/dev/sda:1mb` as a rate of bytes, or of operations. @throws CliError */
export function parseThrottle(text: string, unit: "bytes" | "operations"): ThrottleDevice {
  const [path = "", amount = ""] = splitDevice(text);
  const rate = unit === "bytes" ? parseBytes(amount) : /^\d+$/.test(amount) ? Number(amount) : undefined;
  if (rate === undefined) {
    const wanted =
      unit === "bytes"
        ? "<device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        : "<device-path>:<number>. Number must be a positive integer";
    throw new CliError(`invalid rate for device: ${text}. The correct format is ${wanted}`);
  }
  return { Path: path, Rate: rate };
}

/** `/dev/sda:500`. @throws CliError */
export function parseWeightDevice(text: string): { Path: string; Weight: number } {
  const [path = "", amount = ""] = splitDevice(text);
  const weight = Number(amount);
  if (!/^\d+$/.test(amount) || (weight !== 0 && (weight < 10 || weight > 1000))) throw new CliError(`invalid weight for device: ${text}`);
  return { Path: path, Weight: weight };
}

function splitDevice(text: string): string[] {
  const parts = text.split(":");
  if (parts.length !== 2) throw new CliError(`bad format: ${text}`);
  if (!parts[0]?.startsWith("/dev/")) throw new CliError(`bad format for device path: ${text}`);
  return parts;
}

/** `all`, a count, or `device=0,capabilities=utility`: Docker's DeviceRequests for `--gpus`. @throws CliError */
export function parseGpus(text: string): DeviceRequest {
  const request: Required<DeviceRequest> = {
    Driver: "",
    Count: 1,
    DeviceIDs: [],
    Capabilities: [["gpu"]],
    Options: {},
  };
  if (text === "all" || /^-?\d+$/.test(text)) return { ...request, Count: text === "all" ? -1 : Number(text) };
  for (const field of text.match(/(?:"[^"]*"|[^,])+/g) ?? []) {
    const [key = "", ...rest] = field.replaceAll('"', "").split("=");
    const value = rest.join("=");
    if (key === "driver") request.Driver = value;
    else if (key === "count") request.Count = value === "all" ? -1 : Number(value);
    else if (key === "device") Object.assign(request, { DeviceIDs: value.split(","), Count: 0 });
    else if (key === "capabilities") request.Capabilities = [["gpu", ...value.split(",").filter((one) => one !== "gpu")]];
    else if (key === "options") request.Options = Object.fromEntries(value.split(",").map((pair) => pair.split("=", 2) as [string, string]));
    else throw new CliError(`unexpected key '${key}' in '${field}'`);
  }
  if (!Number.isInteger(request.Count)) throw new CliError(`invalid count in --gpus ${text}: value must be either "all" or an integer`);
  return request;
}
