import type { Call } from "./plugin.ts";

/** Pools that were asked for, or 10.200.0.0/24; addresses from .10 on. */
const taken = new Map<string, Set<string>>();

export const ipamCalls: Record<string, Call> = {
  "IpamDriver.GetCapabilities": () => ({ RequiresMACAddress: true, RequiresRequestReplay: false }),
  "IpamDriver.GetDefaultAddressSpaces": () => ({ LocalDefaultAddressSpace: "here", GlobalDefaultAddressSpace: "everywhere" }),
  "IpamDriver.RequestPool": ({ Pool, V6, Options }) => {
    if ((Options as Record<string, string> | null)?.["fail"] !== undefined) throw new Error("no pool for you");
    const pool = String(Pool ?? "") || (V6 === true ? "fd00:200::/64" : "10.200.0.0/24");
    taken.set(`here/${pool}`, new Set());
    return { PoolID: `here/${pool}`, Pool: pool, Data: {} };
  },
  "IpamDriver.ReleasePool": ({ PoolID }) => {
    taken.delete(String(PoolID));
    return {};
  },
  "IpamDriver.RequestAddress": ({ PoolID, Address }) => {
    const pool = String(PoolID).slice("here/".length);
    const used = taken.get(String(PoolID)) ?? new Set();
    const [base = "", length = ""] = pool.split("/");
    const prefix = base.includes(":") ? base : base.replace(/\.\d+$/, ".");
    let address = String(Address ?? "");
    for (let i = 10; address === ""; i++) if (!used.has(`${prefix}${i}`)) address = `${prefix}${i}`;
    if (used.has(address)) throw new Error(`${address} is taken`);
    taken.set(String(PoolID), used.add(address));
    return { Address: `${address}/${length}`, Data: {} };
  },
  "IpamDriver.ReleaseAddress": ({ PoolID, Address }) => {
    taken.get(String(PoolID))?.delete(String(Address));
    return {};
  },
};
