import { invalidArgument } from "../lib/errors.ts";
import type { IpvlanFlag, IpvlanMode, MacvlanMode } from "../kernel/netlink-links.ts";
import { bridgeOption, isLinkName } from "./bridge-options.ts";
import type { NetworkRecord } from "./types.ts";

/** What macvlan and ipvlan networks can be told, under Docker's names (moby daemon/libnetwork/drivers/macvlan, ipvlan). */
export interface ParentOptions {
  /** The host's link that the network is on; undefined: a dummy link of its own. */
  parent?: string;
  mode: { kind: "macvlan"; mode: MacvlanMode } | { kind: "ipvlan"; mode: IpvlanMode; flag: IpvlanFlag };
  mtu?: number;
}

function choice<T extends string>(options: Record<string, string>, key: string, values: readonly T[], error: (value: string) => string): T {
  const value = options[key] || values[0]!;
  if (!(values as readonly string[]).includes(value)) throw invalidArgument(error(value));
  return value as T;
}

/** @throws EngineError invalidArgument in Docker's words */
export function parseParentOptions(driver: "macvlan" | "ipvlan", { options }: NetworkRecord): ParentOptions {
  const mode: ParentOptions["mode"] =
    driver === "macvlan"
      ? {
          kind: driver,
          mode: choice(
            options,
            "macvlan_mode",
            ["bridge", "private", "vepa", "passthru"],
            (value) => `requested macvlan mode '${value}' is not valid, 'bridge' mode is the macvlan driver default`,
          ),
        }
      : {
          kind: driver,
          mode: choice(
            options,
            "ipvlan_mode",
            ["l2", "l3", "l3s"],
            (value) => `requested ipvlan mode '${value}' is not valid, 'l2' mode is the ipvlan driver default`,
          ),
          flag: choice(
            options,
            "ipvlan_flag",
            ["bridge", "private", "vepa"],
            (value) => `requested ipvlan flag '${value}' is not valid, 'bridge' is the ipvlan driver default`,
          ),
        };
  const parent = options["parent"] ?? "";
  if (parent === "lo") throw invalidArgument(`loopback interface is not a valid ${driver} parent link`);
  if (parent !== "" && !isLinkName(parent)) throw invalidArgument(`-o parent: ${JSON.stringify(parent)} is not an interface name`);
  const prefix = options[bridgeOption.interfacePrefix] || "eth";
  if (!isLinkName(`${prefix}99`)) throw invalidArgument(`${bridgeOption.interfacePrefix}: ${JSON.stringify(prefix)} is not an interface name`);
  const mtu = options[bridgeOption.mtu];
  const hasMtu = mtu !== undefined && mtu !== "" && mtu !== "0";
  if (hasMtu && (!/^\d{1,5}$/.test(mtu) || Number(mtu) < 68 || Number(mtu) > 65535)) throw invalidArgument(`invalid MTU number: ${mtu}`);
  return { mode, ...(parent !== "" && { parent }), ...(hasMtu && { mtu: Number(mtu) }) };
}

/** `eth0.10`: the link below and the id of the VLAN. @throws EngineError invalidArgument in Docker's words */
export function parseVlan(name: string): { parent: string; id: number } {
  if (!name.includes(".")) throw invalidArgument(`invalid subinterface vlan name ${name}, example formatting is eth0.10`);
  const parts = name.split(".");
  const [parent = "", text = ""] = parts;
  if (parts.length !== 2 || parent === "")
    throw invalidArgument(`required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received ${name}`);
  if (!/^\d{1,9}$/.test(text)) throw invalidArgument(`unable to parse a valid vlan id from: ${text} (ex. eth0.10 for vlan 10)`);
  const id = Number(text);
  if (id < 1 || id > 4094) throw invalidArgument(`vlan id must be between 1-4094, received: ${id}`);
  return { parent, id };
}
