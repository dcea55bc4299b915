import { afterAll, beforeAll, expect, test } from "bun:test";
import { commandsOf } from "../documented.ts";
import { unpackedTree } from "../e2e/debian.ts";
import { skipped } from "../skips.ts";
import { ask, eventually, Lab, run, serve } from "./network-lab.ts";
import { layOverHost, type OverHost } from "./over-host.ts";
import { inOwnNamespace } from "./own-namespace.ts";

if (!skipped("root", "overlay", "ufw")) {
  inOwnNamespace(import.meta.path, "Debian's ufw", () => {
    let lab: Lab | undefined;
    let host: OverHost | undefined;
    const ufw = (...args: string[]): Promise<string> => run("/usr/sbin/ufw", ...args);

    beforeAll(async () => {
      const tree = unpackedTree("ufw")!;
      host = await layOverHost([tree]);
      await run(
        "sh",
        "-ec",
        `cp -r ${tree}/lib/ufw /usr/lib/
        cp ${tree}/usr/share/ufw/iptables/*.rules ${tree}/usr/share/ufw/*.init ${tree}/usr/share/ufw/ufw.conf /etc/ufw/
        chown -R root:root /etc/ufw`,
      );
      lab = await Lab.open({ publishMode: "firewall" });
    });
    afterAll(async () => {
      await lab?.[Symbol.asyncDispose]();
      await host?.[Symbol.asyncDispose]();
    });

    test("closes and opens a container's published port as a program's, over its reloads", async () => {
      if (lab === undefined) throw new Error("no lab");
      const { outside } = lab;
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      using _a = await serve(a.path, "a", 80, 80);
      using _world = await serve(outside, "world", 7, 7);
      const answer = (): Promise<string> => ask(outside, "tcp", "192.0.2.1", 8080);
      expect(await answer()).toBe("a 192.0.2.9");
      await ufw("--force", "enable");
      expect(await answer()).toBe("error timeout");
      for (const command of commandsOf("firewall.md", "ufw")) await ufw(...command);
      await eventually(async () => (await answer()) === "a 192.0.2.9", "what ufw allows is reached, past its policy of DROP for what is forwarded");
      await ufw("reload");
      await eventually(async () => (await answer()) === "a 192.0.2.9", "after a reload, too");
      await eventually(async () => (await ask(a.path, "tcp", "192.0.2.9", 7)) === "world 192.0.2.1", "the container reaches the outside");
      await ufw("delete", "allow", "8080/tcp");
      expect(await answer()).toBe("error timeout");
      await ufw("disable");
      lab.removeAll();
    });
  });
}
