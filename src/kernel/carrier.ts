import { FFIType } from "bun:ffi";
import { addressOf, cstr, int, libc, stable } from "./ffi.ts";

const c = libc({ ioctl: { args: [FFIType.i32, FFIType.u64_fast, FFIType.ptr], returns: FFIType.i32 } });

const SIOCETHTOOL = 0x8946;
const ETHTOOL_GLINK = 0xa;

/**
 * Makes the kernel act on a carrier that came or went: a link goes on dropping what is sent through it, and a bridge what comes from its port, until a
 * kernel thread has taken note, which on a busy host is after the first packets; a lost SYN or ARP request costs a second. Asking for the state takes note at
 * once (net/ethtool/ioctl.c, ethtool_op_get_link: "Synchronize carrier state with link watch"). `socket`: any of the link's namespace. A link that isn't
 * there, or has no such question, is passed over: this only makes haste.
 */
export function settleCarrier(socket: number, name: string): void {
  // struct ethtool_value, and the struct ifreq that points to it
  const value = stable(8);
  value.writeUInt32LE(ETHTOOL_GLINK, 0);
  const request = stable(40);
  request.set(cstr(name).subarray(0, 16), 0);
  request.writeBigUInt64LE(BigInt(addressOf(value)), 16);
  c.ioctl(int(socket), SIOCETHTOOL, request);
}
