import { closeFd } from "./fs.ts";
import { NETLINK_NETFILTER, parseAttributes, replies } from "./netlink.ts";
import { AF_NETLINK, joinNetlinkGroups, openSocket, receiveMessage, setReceiveBuffer, SOCK_RAW } from "./socket.ts";

/** linux/netfilter/nfnetlink.h */
const NFNLGRP_NFTABLES = 7;
const NFT_MSG_NEWGEN = 0x0a0f;
const TABLE_NAME = 1; // the first attribute of every kind of message but NEWGEN
const NFGENMSG = 4; // bytes of struct nfgenmsg before the attributes
/** Room for the messages of a large ruleset's flush; memory is only taken while they wait. */
const BUFFER = 4 << 20;

/** Some change of a table: a chain, rule, set or element of it, or the table itself. */
export interface TableChange {
  table: string;
  /** `port` of the netlink socket that asked for it. */
  sender: number;
}

/** The kernel's news of nftables, of this network namespace, from all processes. */
export interface NftablesWatch extends Disposable {
  /** What has come and wasn't told yet. Before `start` only. @throws SysError ENOBUFS where there was too much of it */
  drain(): TableChange[];
  /** From now on `tell` hears of changes, at most every `restMs`; `undefined` stands for some that were lost. */
  start(tell: (changes: TableChange[] | undefined) => void): Promise<void>;
}

/** So long after the first change its followers (of one transaction, of one program) are waited for. */
const SETTLE_MS = 30;

function parse(data: Buffer, into: TableChange[]): void {
  for (const { type, port, payload } of replies(data)) {
    if (type === NFT_MSG_NEWGEN) continue;
    const name = parseAttributes(payload, NFGENMSG).get(TABLE_NAME);
    if (name === undefined) continue;
    const change = { table: name.toString("latin1").replace(/\0.*$/s, ""), sender: port };
    const last = into.at(-1);
    if (last?.table !== change.table || last.sender !== change.sender) into.push(change);
  }
}

/** @throws SysError */
export function watchNftables(options: { restMs: number }): NftablesWatch {
  let fd = openSocket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
  try {
    setReceiveBuffer(fd, BUFFER);
    joinNetlinkGroups(fd, [NFNLGRP_NFTABLES]);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  let socket: Bun.Socket | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let closed = false;

  return {
    drain() {
      const changes: TableChange[] = [];
      const buffer = Buffer.allocUnsafe(1 << 16);
      for (let n = receiveMessage(fd, buffer); n !== undefined; n = receiveMessage(fd, buffer)) parse(buffer.subarray(0, n), changes);
      return changes;
    },
    async start(tell) {
      let changes: TableChange[] = [];
      // others may change rules hundreds of times a second: they are left to pile up in the kernel meanwhile
      const rest = (): void => {
        timer = undefined;
        socket?.resume();
      };
      const report = (): void => {
        const told = changes;
        changes = [];
        timer = setTimeout(rest, options.restMs);
        timer.unref();
        tell(told);
      };
      const opened = await Bun.connect({
        fd,
        socket: {
          data(from: Bun.Socket, data: Buffer) {
            parse(data, changes);
            if (timer !== undefined) return;
            timer = setTimeout(() => {
              from.pause();
              report();
            }, SETTLE_MS);
            timer.unref();
          },
          // ENOBUFS ends it
          close() {
            socket = undefined;
            clearTimeout(timer);
            if (!closed) tell(undefined);
          },
          error() {},
        },
      } as unknown as Parameters<typeof Bun.connect>[0]);
      fd = -1;
      if (closed) opened.terminate();
      else socket = opened as Bun.Socket;
    },
    [Symbol.dispose]() {
      if (closed) return;
      closed = true;
      clearTimeout(timer);
      socket?.terminate();
      if (fd !== -1 && socket === undefined) closeFd(fd);
    },
  };
}
