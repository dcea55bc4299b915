import { message, type NetlinkMessage, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, text, u32, u8 } from "./netlink.ts";
import { AF_INET, AF_INET6 } from "./socket.ts";

/** linux/rtnetlink.h, linux/fib_rules.h */
const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const FRA_IIFNAME = 3;
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_TABLE = 15;
const FRA_FWMASK = 16;
const FRA_PROTOCOL = 21;
const FR_ACT_TO_TBL = 1;
const RTPROT_BOOT = 3;

const families = { 4: AF_INET, 6: AF_INET6 } as const;

/** Which packets look their route up in which table. */
export interface RoutingRule {
  family: 4 | 6;
  /** The lower, the earlier. */
  priority: number;
  table: number;
  /** The link they came in by. */
  inputLink?: string;
  mark?: { value: number; mask: number };
}

function ruleMessage(label: string, type: number, flags: number, rule: RoutingRule): NetlinkMessage {
  const header = Buffer.alloc(12); // struct fib_rule_hdr; tables beyond 255 are told by the attribute alone
  header.writeUInt8(families[rule.family], 0);
  header.writeUInt8(FR_ACT_TO_TBL, 7);
  const parts = [header, u32(FRA_PRIORITY, rule.priority), u32(FRA_TABLE, rule.table), u8(FRA_PROTOCOL, RTPROT_BOOT)];
  if (rule.inputLink !== undefined) parts.push(text(FRA_IIFNAME, rule.inputLink));
  if (rule.mark !== undefined) parts.push(u32(FRA_FWMARK, rule.mark.value), u32(FRA_FWMASK, rule.mark.mask));
  return message(`${label} routing rule ${rule.priority}`, type, flags, ...parts);
}

/** EEXIST where it is there already. */
export const addRoutingRule = (rule: RoutingRule): NetlinkMessage => ruleMessage("add", RTM_NEWRULE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, rule);

/** ENOENT where it isn't there. */
export const deleteRoutingRule = (rule: RoutingRule): NetlinkMessage => ruleMessage("delete", RTM_DELRULE, NLM_F_ACK, rule);
