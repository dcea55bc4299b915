import { parseAddress } from "../lib/address.ts";
import { bridgeOption } from "./bridge-options.ts";
import type { NetworkContext } from "./context.ts";
import type { PortRule } from "./ruleset.ts";
import type { LinkOptions } from "./types.ts";

const keyOf = ({ from, to }: Pick<LinkOptions, "from" | "to">): string => `${from} ${to}`;

/** Where containers of the default network are kept apart (`icc=false`), a link opens what the linked container exposes, to the other alone, as in Docker. */
export function openLink(ctx: NetworkContext, link: LinkOptions): void {
  const [from, to] = [link.from, link.to].map((id) => ctx.records.endpointsOfContainer(id).find(({ networkName }) => networkName === "bridge"));
  if (from === undefined || to === undefined || ctx.records.byId(from.networkId)?.options[bridgeOption.icc] !== "false") return;
  const rules = ([4, 6] as const).flatMap((family) => {
    const [here, there] = [from, to].map(({ ipv4, ipv6 }) => parseAddress((family === 4 ? ipv4 : ipv6) ?? ""));
    if (here === undefined || there === undefined) return [];
    return link.ports.map(({ proto, port }): PortRule => ({
      proto,
      from: here,
      hostIp: { family, value: 0n },
      hostPort: 0,
      containerIp: there,
      containerPort: port,
    }));
  });
  closeLink(ctx, link);
  ctx.links.set(keyOf(link), rules);
  void ctx.firewall.addPorts(rules);
}

export function closeLink(ctx: NetworkContext, link: Pick<LinkOptions, "from" | "to">): void {
  ctx.firewall.removePorts(ctx.links.get(keyOf(link)) ?? []);
  ctx.links.delete(keyOf(link));
}

/** A container's links, from it and to it. */
export function closeLinks(ctx: NetworkContext, containerId: string): void {
  for (const key of ctx.links.keys()) {
    const [from = "", to = ""] = key.split(" ");
    if (from === containerId || to === containerId) closeLink(ctx, { from, to });
  }
}
