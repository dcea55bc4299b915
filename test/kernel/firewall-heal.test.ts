import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { skips } from "../skips.ts";
import { ask, eventually, Lab, run, serve } from "./network-lab.ts";
import { inOwnNamespace } from "./own-namespace.ts";

if (!skips.root.missing()) {
  inOwnNamespace(import.meta.path, "rules that others break", () => {
    let lab: Lab;
    const nft = (...command: string[]): Promise<string> => run("nft", ...command);
    const table = (): Promise<string> => nft("list", "table", "inet", "berth_abc123");

    beforeAll(async () => {
      lab = await Lab.open();
    });
    afterEach(() => lab.removeAll());
    afterAll(() => lab[Symbol.asyncDispose]());

    /** `damage` is mended without any other change, and a published port is reached again. */
    async function healsAfter(damage: () => Promise<unknown>): Promise<void> {
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      using _server = await serve(a.path, "a", 80, 80);
      const whole = await table();
      await damage();
      await eventually(async () => (await table().catch(() => "")) === whole, "our table is as it was");
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("a 192.0.2.9");
      lab.remove(a.id);
    }

    test("all rules flushed", () => healsAfter(() => nft("flush", "ruleset")));
    test("the table deleted", () => healsAfter(() => nft("delete", "table", "inet", "berth_abc123")));
    test("the table's rules flushed, its sets left", () => healsAfter(() => nft("flush", "table", "inet", "berth_abc123")));
    test("one chain flushed", () => healsAfter(() => nft("flush", "chain", "inet", "berth_abc123", "forward")));
    test("one port's element deleted", () => healsAfter(() => nft("delete element inet berth_abc123 p4 { tcp . 8080 }")));
    test("a rule added that drops all", () => healsAfter(() => nft("insert rule inet berth_abc123 forward drop")));
    test("an older state of all rules put back, as a restart of nftables.service does", async () => {
      await run("sh", "-c", `(echo flush ruleset; nft list ruleset) > ${lab.root}/saved.nft`);
      await healsAfter(() => run("sh", "-c", `nft -f ${lab.root}/saved.nft`));
    });
    test("twice, one right after the other", async () => {
      await healsAfter(() => nft("flush", "ruleset"));
      await healsAfter(() => nft("flush", "ruleset"));
    });

    test("one warning for one event, also where a change of ours meets the damage before the kernel's news of it are read", async () => {
      const others = lab.warnings.length;
      Bun.spawnSync(["nft", "flush", "ruleset"]); // holds up the event loop: nobody has heard of it
      await lab.networks.create({ name: "met" });
      await Bun.sleep(700); // the news are told after 30 ms, further ones after 500
      expect(lab.warnings.slice(others)).toEqual([expect.stringContaining("somebody changed our nftables rules")]);
      await lab.networks.remove("met");
      await healsAfter(() => nft("flush", "ruleset"));
      expect(lab.warnings.length).toBe(others + 2);
    });

    test("a FORWARD policy of DROP that comes while the engine runs gets its one rule, and keeps it after a flush of that chain", async () => {
      const a = await lab.container();
      using _world = await serve(lab.outside, "world", 7, 7);
      await nft("add table ip filter; add chain ip filter FORWARD { type filter hook forward priority filter ; policy drop ; }");
      const reaches = async (): Promise<boolean> => (await ask(a.path, "tcp", "192.0.2.9", 7)) === "world 192.0.2.1";
      await eventually(reaches, "the new chain lets through what our own has allowed");
      await nft("flush", "chain", "ip", "filter", "FORWARD");
      await eventually(reaches, "and again after a flush");
      await nft("delete", "table", "ip", "filter");
      lab.remove(a.id);
    });

    test("what others do to their own tables changes nothing of ours", async () => {
      const handles = async (): Promise<string> => nft("-a", "list", "table", "inet", "berth_abc123");
      const before = await handles();
      for (let i = 0; i < 20; i++)
        await nft("add table inet theirs; add chain inet theirs c { type filter hook input priority 0 ; }; delete table inet theirs");
      await Bun.sleep(700);
      expect(await handles()).toBe(before); // a reload would give new handles
    });

    test("more news than the kernel keeps: all is made sure of", async () => {
      const chains = Array.from({ length: 20_000 }, (_, i) => `add chain inet theirs c${i}\nadd rule inet theirs c${i} tcp dport ${i + 1} log accept\n`);
      const before = await table();
      const handles = await nft("-a", "list", "table", "inet", "berth_abc123");
      const flood = Bun.spawn(["nft", "-f", "-"], { stdin: Buffer.from(`add table inet theirs\n${chains.join("")}delete table inet theirs\n`) });
      await flood.exited;
      await eventually(async () => (await nft("-a", "list", "table", "inet", "berth_abc123").catch(() => handles)) !== handles, "our table is loaded again");
      expect(await table()).toBe(before);
      await healsAfter(() => nft("flush", "ruleset"));
    });
  });
}
