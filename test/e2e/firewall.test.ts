import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { commandsOf, outputOf } from "../documented.ts";
import { skipped } from "../skips.ts";
import { until } from "./harness.ts";
import { Neighbourhood, serving } from "./neighbourhood.ts";

/** What docs/firewall.md shows, but for ufw's and firewalld's commands: those are run by test/kernel/ufw.test.ts and firewalld.test.ts. */
describe.skipIf(skipped("root", "overlay", "docker", "iptables"))("what docs/firewall.md shows", () => {
  const page = "firewall.md";
  const here = new Neighbourhood([...commandsOf(page, "berthd")[0]!, "--dns", "192.0.2.9", "--mtu", "1420"]);
  const { engine } = here;
  let names: Bun.Subprocess | undefined;

  beforeAll(async () => {
    await here.open();
    names = Bun.spawn([...here.inOutside, process.execPath, join(import.meta.dir, "../kernel/net-peer.ts"), "nameserver", "192.0.2.9"]);
  }, 60_000);
  afterAll(async () => {
    names?.kill("SIGKILL");
    await names?.exited;
    await here[Symbol.asyncDispose]();
  }, 60_000);

  test("the one rule in iptables' FORWARD, the port that the host's own rule opens", async () => {
    await engine.ok("run", "-d", "--name", "web", "-p", "8080:80", "busybox", ...serving("web"));
    await here.onHost("iptables", "-P", "FORWARD", "DROP");
    const rule = commandsOf(page, "iptables")[0]!.join(" ");
    await until("the rule", async () => (await here.onHost("iptables", "-S", "FORWARD")).split("\n").includes(rule));
    await here.onHost("nft", "add table inet filter; add chain inet filter input { type filter hook input priority filter; policy drop; }");
    expect(await here.ourWays(8080, "web")).toEqual(["", "world"]);
    for (const command of commandsOf(page, "nft")) await here.onHost("nft", ...command);
    expect(await here.ourWays(8080, "web")).toEqual(["web", "world"]);
    await here.onHost("nft", "delete table inet filter");
    await here.onHost("iptables", "-P", "FORWARD", "ACCEPT");
    await engine.removeAll();
  }, 60_000);

  test("berth network check", async () => {
    const told = outputOf(page, "berth network check");
    const bridge = `br-${(await engine.ok("network", "create", "app")).slice(0, 12)}`;
    for (const port of ["8080", "8081", "8082"]) await engine.ok("run", "-d", "--network", "app", "-p", `${port}:80`, "busybox", "sleep", "1000");
    for (let i = 0; i < 3; i++) await engine.ok("run", "-d", "--network", "app", "busybox", "sleep", "1000");
    const link = "ip link set world down; ip link set world name wg0 mtu 1420; ip link set wg0 up; ip route add default via 192.0.2.9";
    await here.onHost("sh", "-ec", `${link}; ip link delete ${bridge}`);
    const { stdout, code } = await engine.berth(["network", "check"]);
    expect([stdout.trim().split("\n"), code]).toEqual([told.map((line) => line.replace(/br-[0-9a-f]{12}/, bridge)), 1]);
    for (const command of commandsOf(page, "berth").filter(([, verb]) => verb === "check")) await engine.berth([...command, "--repair"]);
    expect((await engine.berth(["network", "check"])).code).toBe(0);
  }, 60_000);
});
