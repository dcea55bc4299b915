import { attribute, message, nested, type NetlinkSocket, NLM_F_ACK, NLM_F_DUMP, parseAttributes } from "./netlink.ts";
import { SysError } from "./ffi.ts";

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

/** Which flows are meant; what is absent matches anything. */
export interface FlowFilter {
  /** AF_INET or AF_INET6. */
  family: number;
  /** IP protocol number. */
  protocol: number;
  /** 4 or 16 bytes: where answers come from, i.e. the container after DNAT. */
  replySource?: Uint8Array;
  /** Port the first packet was sent to. */
  destinationPort?: number;
}

function matches(tuples: Map<number, Buffer>, filter: FlowFilter): boolean {
  const original = tuples.get(CTA_TUPLE_ORIG);
  const reply = tuples.get(CTA_TUPLE_REPLY);
  if (original === undefined || reply === undefined) return false;
  const protocol = parseAttributes(parseAttributes(original).get(CTA_TUPLE_PROTO) ?? Buffer.alloc(0));
  if (protocol.get(CTA_PROTO_NUM)?.[0] !== filter.protocol) return false;
  if (filter.destinationPort !== undefined && protocol.get(CTA_PROTO_DST_PORT)?.readUInt16BE(0) !== filter.destinationPort) return false;
  if (filter.replySource === undefined) return true;
  const source = parseAttributes(parseAttributes(reply).get(CTA_TUPLE_IP) ?? Buffer.alloc(0)).get(filter.replySource.length === 4 ? 1 : 3);
  return source !== undefined && Buffer.compare(source, filter.replySource) === 0;
}

/**
 * Deletes the flows that match any of `filters`, so that their next packet meets the present rules. Needed for UDP, whose clients keep one flow
 * for ever. Walks the whole table (5 ms and more): for Workers. Returns how many. @throws SysError
 */
export function deleteFlows(socket: NetlinkSocket, filters: readonly FlowFilter[]): number {
  let deleted = 0;
  for (const [family, ofFamily] of Map.groupBy(filters, (filter) => filter.family)) {
    const list = message("list flows", (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET, NLM_F_DUMP, header(family));
    for (const payload of socket.dump(list)) {
      const tuples = parseAttributes(payload, 4);
      if (ofFamily.some((filter) => matches(tuples, filter)) && deleteFlow(socket, family, tuples)) deleted++;
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
