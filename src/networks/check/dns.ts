import { createSocket } from "node:dgram";
import type { NetworkContext } from "../context.ts";
import { hostResolvConf, reachableServers } from "../resolv-conf.ts";
import type { Finding } from "./types.ts";

const WAIT_MS = 2000;

/** A question for the root's name servers, which every resolver can answer: any answer will do. */
const question = Buffer.from("2a2a01000001000000000000" + "00" + "00020001", "hex");

function answers(server: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket(server.includes(":") ? "udp6" : "udp4");
    const finish = (answered: boolean): void => {
      clearTimeout(timer);
      socket.close();
      resolve(answered);
    };
    const timer = setTimeout(() => finish(false), WAIT_MS);
    socket.on("error", () => finish(false));
    socket.on("message", () => finish(true));
    socket.send(question, 53, server, (error) => {
      if (error) finish(false);
    });
  });
}

/** The servers that containers' questions go to. */
export async function dnsFindings(ctx: NetworkContext): Promise<Finding[]> {
  const configured = ctx.options.dns.length > 0 ? ctx.options.dns : hostResolvConf().nameservers;
  const servers = reachableServers(configured, ctx.ports.ipv6);
  const results = await Promise.all(servers.map(async (server) => ({ server, answered: await answers(server) })));
  const silent = results.filter(({ answered }) => !answered).map(({ server }) => server);
  if (silent.length === 0) return [];
  const all = silent.length === servers.length;
  const standIn = configured.some((server) => servers.includes(server))
    ? ""
    : ` (the host's own ${configured.join(", ") || "configuration has none"} can't be reached from containers, so these stand in)`;
  return [
    {
      kind: "dns",
      ...(all ? {} : { level: "hint" }),
      problem: all
        ? `no name server answers: ${silent.join(", ")}${standIn}; containers resolve no names but each other's`
        : `name server ${silent.join(", ")} doesn't answer${standIn}; another one does`,
      next: "see /etc/resolv.conf, or name servers that answer with --dns of berthd",
    },
  ];
}
