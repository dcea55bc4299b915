import { messageOf } from "../../lib/errors.ts";
import type { NetworkContext } from "../context.ts";
import type { PublishedPort } from "../types.ts";
import { dnsFindings } from "./dns.ts";
import { forwardingFindings, hostFindings } from "./host.ts";
import { bridgeFindings, linkFindings, lostLinks } from "./links.ts";
import { portFindings } from "./ports.ts";
import { ruleFindings } from "./rules.ts";
import type { Finding, NetworkCheckOptions, NetworkProblem, NetworkReport } from "./types.ts";

async function settle({ repair, level = "problem", ...finding }: Finding, mend: boolean): Promise<NetworkProblem> {
  const { next, ...rest } = finding;
  const problem: NetworkProblem = { ...rest, level };
  if (repair === undefined) return next === undefined ? problem : { ...problem, next };
  if (!mend) return { ...problem, next: next === undefined ? "berth network check --repair" : `berth network check --repair, or ${next}` };
  try {
    return { ...problem, repaired: await repair() };
  } catch (error) {
    return { ...problem, next: `it can't be repaired: ${messageOf(error)}${next === undefined ? "" : `; ${next}`}` };
  }
}

/** A port that is published on all addresses is one, though it is bound for IPv4 and IPv6. */
function publication(containerId: string, { proto, hostIp, hostPort, containerPort }: PublishedPort): string {
  return [containerId, proto, hostIp === "::" ? "0.0.0.0" : hostIp, hostPort, containerPort].join(" ");
}

/** Looks at all that containers' networks need, on the host, in the kernel and in the containers, and mends what is safely mended where that is asked for. */
export async function checkNetworks(ctx: NetworkContext, { repair, atRest }: NetworkCheckOptions): Promise<NetworkReport> {
  const problems: NetworkProblem[] = [];
  // one after the other, and each repaired before the next is looked for: a bridge that is back has its links again
  const steps: (() => Finding[] | Promise<Finding[]>)[] = [
    () => hostFindings(ctx),
    () => bridgeFindings(ctx),
    () => linkFindings(ctx, atRest),
    () => ruleFindings(ctx),
    () => portFindings(ctx),
    () => dnsFindings(ctx),
  ];
  for (const step of steps) for (const finding of await step()) problems.push(await settle(finding, repair));
  const endpoints = ctx.records.endpoints();
  return {
    checked: {
      networks: ctx.records.list().length,
      containers: new Set(endpoints.map(({ containerId }) => containerId)).size,
      ports: new Set(endpoints.flatMap(({ containerId, ports }) => ports.map((port) => publication(containerId, port)))).size,
    },
    problems,
  };
}

/** What is looked after without being asked: a handful of system calls a network, and two a container. */
export async function lookAfterNetworks(ctx: NetworkContext): Promise<void> {
  for (const step of [forwardingFindings, bridgeFindings, lostLinks]) {
    for (const { problem, repair } of await step(ctx)) {
      if (repair === undefined) continue;
      ctx.log.warn(`${problem}: mended`, { did: await repair() });
    }
  }
}
