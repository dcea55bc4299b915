import type { EndpointSettings } from "../../oci/container.ts";
import { CliError } from "../errors.ts";
import { csvFields } from "./mounts.ts";
import { isAddress } from "./subnets.ts";

/** A `--network` value: a name, or `name=x,alias=a,ip=1.2.3.4,driver-opt=k=v,gw-priority=1`. @throws CliError */
export function parseNetwork(text: string): { name: string; endpoint: EndpointSettings } {
  if (!/(?:^|,)(?:name|alias|ip|ip6|mac-address|link-local-ip|driver-opt|gw-priority)=/.test(text)) return { name: text, endpoint: {} };
  let name = "";
  const endpoint: EndpointSettings = {};
  for (const field of csvFields(text)) {
    const [rawKey = "", ...rest] = field.split("=");
    const value = rest.join("=").trim();
    const ipam = (): NonNullable<EndpointSettings["IPAMConfig"]> => (endpoint.IPAMConfig ??= {});
    switch (rawKey.trim().toLowerCase()) {
      case "name":
        name = value;
        break;
      case "alias":
        (endpoint.Aliases ??= []).push(value);
        break;
      case "ip":
        ipam().IPv4Address = value;
        break;
      case "ip6":
        ipam().IPv6Address = value;
        break;
      case "link-local-ip":
        (ipam().LinkLocalIPs ??= []).push(value);
        break;
      case "mac-address":
        endpoint.MacAddress = value;
        break;
      case "driver-opt": {
        const equals = value.indexOf("=");
        if (equals < 0) throw new CliError("invalid key value pair format in driver options");
        (endpoint.DriverOpts ??= {})[value.slice(0, equals)] = value.slice(equals + 1);
        break;
      }
      case "gw-priority":
        if (!/^-?\d+$/.test(value)) throw new CliError(`invalid gw-priority: invalid syntax`);
        endpoint.GwPriority = Number(value);
        break;
      default:
        throw new CliError(`invalid field ${rawKey}`);
    }
  }
  if (name === "") throw new CliError(`network name/id is not specified in '${text}'`);
  return { name, endpoint };
}

/** `host:ip` or `host=ip` as the API takes it. @throws CliError */
export function parseExtraHost(text: string): string {
  const at = text.search(/[:=]/);
  const host = text.slice(0, at);
  const address = text.slice(at + 1).replace(/^\[(.*)\]$/, "$1");
  if (at <= 0) throw new CliError(`bad format for add-host: "${text}"`);
  if (address !== "host-gateway" && !isAddress(address)) throw new CliError(`invalid IP address in add-host: "${address}"`);
  return `${host}:${address}`;
}
