import { afterAll, beforeAll, expect, test } from "bun:test";
import { openRouteSocket } from "../../src/kernel/netlink-route.ts";
import { silent } from "../../src/lib/log.ts";
import { startHands } from "../../src/daemon/hands.ts";
import { createChores } from "../../src/networks/chores.ts";
import { createFirewall } from "../../src/networks/firewall.ts";
import { createGuardLoop } from "../../src/networks/guard-loop.ts";
import { skips } from "../skips.ts";
import { ask, eventually, Lab, run, serve } from "./network-lab.ts";
import { inOwnNamespace } from "./own-namespace.ts";

if (!skips.root.missing()) {
  inOwnNamespace(import.meta.path, "beside others' rules", () => {
    let lab: Lab;
    const nft = (command: string): Promise<string> => run("nft", command);
    /** What others have, as the kernel lists it; packets counted don't count. */
    const theirs = async (): Promise<string> => (await run("nft", "-s", "list", "ruleset")).replace(/^table (inet|ip6?) berth_\w+ \{\n.*?^\}\n?/gms, "").trim();
    const accept = /\n\t\tmeta mark & 0x00e00000 == 0x00e00000 counter accept/;

    beforeAll(async () => {
      // what dockerd and ufw leave behind in iptables' tables, and a firewall of the administrator's
      await run(
        "sh",
        "-c",
        `nft -f - <<'X'
        table ip filter {
          chain DOCKER-USER { counter return
          }
          chain DOCKER { iifname != "docker0" oifname "docker0" drop
          }
          chain INPUT { type filter hook input priority filter; policy accept; tcp dport 22 accept
          }
          chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER
            oifname "docker0" jump DOCKER
          }
        }
        table ip nat {
          chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; fib daddr type local tcp dport 9 dnat to 172.31.0.2:9
          }
        }
        table inet admin {
          chain input { type filter hook input priority filter; policy accept; ct state invalid drop
          }
        }
X`,
      );
      lab = await Lab.open();
    });
    afterAll(() => lab[Symbol.asyncDispose]());

    test("two engines change one rule of theirs, once; it goes with the last of them, and all is as before, byte for byte", async () => {
      const during = await theirs();
      expect(during).toMatch(accept);
      const before = during.replace(accept, "");
      expect(before).not.toMatch(accept);
      using hands = startHands();
      using chores = createChores(hands.links);
      using host = openRouteSocket();
      using second = createFirewall({
        enabled: true,
        ip6tables: true,
        engineKey: "def456",
        acceptMark: "",
        guard: false,
        loop: createGuardLoop(host, "def456"),
        chores,
        log: silent,
      });
      second.load();
      expect(await theirs()).toBe(during);
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      using _a = await serve(a.path, "a", 80, 80);
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("a 192.0.2.9");
      second.unload();
      expect(await theirs()).toBe(during);
      await eventually(async () => (await nft("list tables")).includes("berth_abc123"), "the first engine's rules stay");
      lab.removeAll();
      await lab.networks.close({ containersLive: false });
      expect(await theirs()).toBe(before);
      await lab.resume();
      expect(await theirs()).toBe(during);
    });

    test("what others flush and reload of their own stays as they made it, but for the one rule", async () => {
      const during = await theirs();
      await nft("flush chain ip filter FORWARD; add rule ip filter FORWARD jump DOCKER-USER");
      await eventually(async () => accept.test(await theirs()), "the rule is back");
      await nft("delete table inet admin");
      await nft("add table inet admin");
      const own = (await theirs()).replace(accept, "");
      await Bun.sleep(600);
      expect((await theirs()).replace(accept, "")).toBe(own);
      expect(own).not.toBe(during);
    });

    test("the one rule overrides what stands for a policy, not what an administrator or a dockerd drops by name", async () => {
      const { outside } = lab;
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }], "81/tcp": [{ HostPort: "8081" }] } });
      using _a = await serve(a.path, "a", 80, 80);
      using _b = await serve(a.path, "b", 81, 81);
      const port = (number: number): Promise<string> => ask(outside, "tcp", "192.0.2.1", number);
      for (const last of ["counter drop", "reject", "jump ufw-reject-forward"]) {
        await nft("add chain ip filter ufw-reject-forward; add rule ip filter ufw-reject-forward reject");
        await nft(`flush chain ip filter FORWARD; add rule ip filter FORWARD tcp dport 81 counter drop; add rule ip filter FORWARD ${last}`);
        await eventually(async () => accept.test(await theirs()), "the rule is back");
        expect([last, await port(8080), await port(8081)]).toEqual([last, "a 192.0.2.9", "error timeout"]);
      }
      lab.removeAll();
    });
  });
}
