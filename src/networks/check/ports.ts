import type { NetworkContext } from "../context.ts";
import type { Finding } from "./types.ts";

/** Published ports whose socket the engine could not have: another process took it while no engine ran. */
export function portFindings(ctx: NetworkContext): Finding[] {
  return ctx.ports.unheld().map(({ containerId, where, proto, retake }) => ({
    kind: "port",
    container: containerId,
    problem: `published port ${where}/${proto} of container ${containerId.slice(0, 12)} is taken by another process: from the host itself that one may answer`,
    next: `see which it is (ss -Hlnp${proto === "udp" ? "u" : "t"} 'sport = :${where.replace(/^.*:/, "")}') and end it`,
    repair: () => {
      retake();
      return "held again";
    },
  }));
}
