import { FFIType } from "bun:ffi";
import { addressOf, check, cstr, int, libc, stable } from "./ffi.ts";
import { closeFd } from "./fs.ts";
import { setOption } from "./socket.ts";

const c = libc({
  setsockopt: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  syscall: { args: [FFIType.i64_fast, FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i64_fast },
});

const SYS_bpf = process.arch === "x64" ? 321 : 280;
const BPF_PROG_LOAD = 5;
const BPF_PROG_TYPE_SOCKET_FILTER = 1;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SO_ATTACH_BPF = 50;

/** What a restricted socket still hears. */
export type Heard = "nothing" | "ipv6";

/**
 * Each filter in two forms: as a program that many sockets share (struct bpf_insn, 8 bytes each), and as a classic one (struct sock_filter), of which
 * the kernel keeps a page for every socket.
 */
const programs: Record<Heard, { shared: string; classic: string }> = {
  nothing: {
    shared: "b700000000000000" + "9500000000000000", // r0 = 0; exit
    classic: "0600000000000000", // ret 0
  },
  ipv6: {
    // r0 = skb->protocol (offset 16 of struct __sk_buff, in network order); if r0 != ETH_P_IPV6 then r0 = 0 else r0 = all; exit
    shared: "6110100000000000" + "5500020086dd0000" + "b7000000ffffff7f" + "9500000000000000" + "b700000000000000" + "9500000000000000",
    classic: "2800000000f0ffff" + "15000001dd860000" + "06000000ffffffff" + "0600000000000000", // ldh [SKF_AD_OFF + SKF_AD_PROTOCOL]; jeq 0x86dd; ret -1; ret 0
  },
};

/** Makes sockets deaf that only keep their port taken. */
export interface SocketFilters extends Disposable {
  /** From now on the kernel drops whatever else arrives for this socket, or for a connection of it. @throws SysError */
  restrict(fd: number, heard: Heard): void;
}

/** The programs are loaded once, when first needed: a filter of its own takes each socket 12 µs and a page of memory, a shared one 1 µs. */
export function createSocketFilters(): SocketFilters {
  const loaded = new Map<Heard, number | undefined>();
  const programOf = (heard: Heard): number | undefined => {
    if (!loaded.has(heard)) loaded.set(heard, load(Buffer.from(programs[heard].shared, "hex")));
    return loaded.get(heard);
  };
  return {
    restrict(fd, heard) {
      const program = programOf(heard);
      if (program === undefined) attachClassic(fd, Buffer.from(programs[heard].classic, "hex"));
      else setOption(fd, SOL_SOCKET, SO_ATTACH_BPF, program);
    },
    [Symbol.dispose]() {
      for (const fd of loaded.values()) if (fd !== undefined) closeFd(fd);
      loaded.clear();
    },
  };
}

/** Undefined where bpf(2) isn't there or not allowed, as within many containers. */
function load(instructions: Buffer): number | undefined {
  const code = stable(instructions.length);
  code.set(instructions);
  const license = stable(4);
  license.set(cstr("MIT"));
  const attributes = stable(48); // union bpf_attr: prog_type, insn_cnt, insns, license; the rest may stay zero
  attributes.writeUInt32LE(BPF_PROG_TYPE_SOCKET_FILTER, 0);
  attributes.writeUInt32LE(instructions.length / 8, 4);
  attributes.writeBigUInt64LE(BigInt(addressOf(code)), 8);
  attributes.writeBigUInt64LE(BigInt(addressOf(license)), 16);
  const fd = Number(c.syscall(SYS_bpf, BPF_PROG_LOAD, attributes, attributes.length));
  return fd < 0 ? undefined : fd;
}

function attachClassic(fd: number, instructions: Buffer): void {
  const code = stable(instructions.length);
  code.set(instructions);
  const program = Buffer.alloc(16); // struct sock_fprog
  program.writeUInt16LE(instructions.length / 8, 0);
  program.writeBigUInt64LE(BigInt(addressOf(code)), 8);
  check(c.setsockopt(int(fd), SOL_SOCKET, SO_ATTACH_FILTER, program, program.length), "setsockopt", "SO_ATTACH_FILTER");
}
