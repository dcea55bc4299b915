import { attribute, message, nested, type NetlinkSocket, NLM_F_ACK, NLM_F_DUMP, parseAttributes } from "./netlink.ts";
import { SysError } from "./ffi.ts";
import { AF_INET } from "./socket.ts";

const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_GET = 1;
const IPCTNL_MSG_CT_DELETE = 2;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_ZONE = 18;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_DST_PORT = 3;
const ENOENT = 2;
const ENODATA = 61;

const header = (family: number): Buffer => Buffer.of(family, 0, 0, 0);

/** Flows to a port of this host, by where DNAT led them. */
export interface FlowFilter {
  /** AF_INET or AF_INET6. */
  family: number;
  /** IP protocol number. */
  protocol: number;
  /** Port of the host that the first packet was sent to. */
  port: number;
  /** To `container`, or to anything else. */
  led: "here" | "elsewhere";
  /** 4 or 16 bytes: answers come from there. */
  container: Uint8Array;
}

interface Flow {
  /** Where the first packet was sent to. */
  address: Buffer;
  port: number;
  protocol: number;
  /** Where answers come from. */
  answers: Buffer;
}

function parseFlow(family: number, tuples: Map<number, Buffer>): Flow | undefined {
  const original = tuples.get(CTA_TUPLE_ORIG);
  const reply = tuples.get(CTA_TUPLE_REPLY);
  if (original === undefined || reply === undefined) return undefined;
  const { source, destination } = family === AF_INET ? { source: 1, destination: 2 } : { source: 3, destination: 4 }; // CTA_IP_V4_SRC …
  const there = parseAttributes(original);
  const protocol = parseAttributes(there.get(CTA_TUPLE_PROTO) ?? Buffer.alloc(0));
  const address = parseAttributes(there.get(CTA_TUPLE_IP) ?? Buffer.alloc(0)).get(destination);
  const answers = parseAttributes(parseAttributes(reply).get(CTA_TUPLE_IP) ?? Buffer.alloc(0)).get(source);
  const port = protocol.get(CTA_PROTO_DST_PORT);
  if (address === undefined || answers === undefined || port === undefined) return undefined;
  return { address, port: port.readUInt16BE(0), protocol: protocol.get(CTA_PROTO_NUM)?.[0] ?? 0, answers };
}

/**
 * Deletes the flows that match any of `filters`, so that their next packet meets the present rules. Needed for UDP, whose clients keep one flow
 * for ever. Only those count that were sent to an address for which `isLocal` holds: others merely bear the same port number, as queries to a DNS
 * server do. Walks the whole table (5 ms and more): for Workers. Returns how many. @throws SysError
 */
export function deleteFlows(socket: NetlinkSocket, filters: readonly FlowFilter[], isLocal: (address: Uint8Array) => boolean): number {
  let deleted = 0;
  for (const [family, ofFamily] of Map.groupBy(filters, (filter) => filter.family)) {
    const byPort = Map.groupBy(ofFamily, (filter) => `${filter.protocol} ${filter.port}`);
    const list = message("list flows", (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET, NLM_F_DUMP, header(family));
    for (const payload of socket.dump(list)) {
      const tuples = parseAttributes(payload, 4);
      const flow = parseFlow(family, tuples);
      const candidates = flow && byPort.get(`${flow.protocol} ${flow.port}`);
      const isMeant = candidates?.some(({ led, container }) => (Buffer.compare(flow!.answers, container) === 0) === (led === "here"));
      if (isMeant === true && isLocal(flow!.address) && deleteFlow(socket, family, tuples)) deleted++;
    }
  }
  return deleted;
}

/** False where it had gone meanwhile. */
function deleteFlow(socket: NetlinkSocket, family: number, tuples: Map<number, Buffer>): boolean {
  const zone = tuples.get(CTA_ZONE);
  const parts = [nested(CTA_TUPLE_ORIG, tuples.get(CTA_TUPLE_ORIG)!), ...(zone === undefined ? [] : [attribute(CTA_ZONE, zone)])];
  try {
    socket.request(message("delete a flow", (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_DELETE, NLM_F_ACK, header(family), ...parts));
    return true;
  } catch (error) {
    if (error instanceof SysError && (error.errno === ENOENT || error.errno === ENODATA)) return false;
    throw error;
  }
}
