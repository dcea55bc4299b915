import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { type Dockerd, dockerdPath, startDockerd } from "./dockerd.ts";
import { said, until } from "./harness.ts";
import { Neighbourhood, serving, withoutAccept } from "./neighbourhood.ts";
import { Podman, podmanPrograms } from "./podman.ts";

/** A dockerd with its bridge and its rules. */
describe.skipIf(skipped("root", "overlay", "docker", "dockerd", "iptables"))("beside a real dockerd", () => {
  const here = new Neighbourhood();
  const { engine } = here;
  let dockerd: Dockerd;

  const docker = (...args: string[]): Promise<string> => said(engine.dockerProgram, "-H", `unix://${dockerd.socket}`, ...args);
  /** What the outside gets of both engines' ports, and both engines' containers of the outside. */
  const all = async (): Promise<string[]> => {
    const theirs = here.ways(9090, [engine.dockerProgram, "-H", `unix://${dockerd.socket}`, "exec", "others"]);
    return [...(await here.ourWays(8080, "ours")), ...(await theirs)];
  };
  const works = ["ours", "world", "others", "world"];

  beforeAll(async () => {
    await here.open();
    dockerd = await startDockerd(dockerdPath()!, engine.onHost);
    await docker("import", "-c", "ENV PATH=/bin", join(engine.root, "busybox.tar"), "busybox:latest");
  }, 60_000);
  afterAll(async () => {
    // dockerd is killed, and its containers with it, but their cgroups would stay
    if (dockerd !== undefined) await docker("rm", "-f", "others").catch(console.error);
    await dockerd?.[Symbol.asyncDispose]();
    await here[Symbol.asyncDispose]();
  }, 60_000);

  test("both publish ports and reach the outside, whatever policy FORWARD has and whoever comes and goes", async () => {
    await engine.ok("run", "-d", "--name", "ours", "-p", "8080:80", "busybox", ...serving("ours"));
    await docker("run", "-d", "--name", "others", "-p", "9090:80", "busybox", ...serving("others"));
    const subnet = "{{(index .IPAM.Config 0).Subnet}}";
    expect(await engine.ok("network", "inspect", "-f", subnet, "bridge")).not.toBe(await docker("network", "inspect", "-f", subnet, "bridge"));
    await until("all to work", async () => Bun.deepEquals(await all(), works));
    expect(await engine.refused("run", "--rm", "-p", "9090:80", "busybox", "true")).toContain("address already in use");

    const open = await here.theirs();
    await here.onHost("iptables", "-P", "FORWARD", "DROP");
    const dropping = await until("the one rule", async () => ((await here.theirs()).includes("0x00e00000") ? await here.theirs() : undefined));
    expect(withoutAccept(dropping)).toBe(open.replace(/(hook forward [^\n]*policy) accept/, "$1 drop"));
    expect(await all()).toEqual(works);

    await engine.stop();
    expect([await here.theirs(), ...(await all()).toSpliced(1, 1)]).toEqual([dropping, "ours", "others", "world"]);
    await engine.start();
    expect(await here.theirs()).toBe(dropping);
    expect(await all()).toEqual(works);

    await here.onHost("iptables", "-I", "DOCKER-USER", "-s", "192.0.2.9", "-p", "tcp", "--dport", "80", "-j", "DROP");
    expect(await all()).toEqual(["", "world", "", "world"]);
    await here.onHost("iptables", "-F");
    await here.onHost("iptables", "-t", "nat", "-F");
    await until("our own to work after the flush", async () => Bun.deepEquals(await here.ourWays(8080, "ours"), ["ours", "world"]));
  }, 60_000);
});

/** Podman with netavark's bridge and rules. No daemon: its containers and rules are there while no podman runs. */
describe.skipIf(skipped("root", "overlay", "docker", "podman", "iptables"))("beside a real Podman", () => {
  const here = new Neighbourhood();
  const { engine } = here;
  let podman: Podman;
  const theirWays = (): Promise<string[]> => here.ways(9090, podman.command("exec", "others"));
  const all = async (): Promise<string[]> => (await Promise.all([here.ourWays(8080, "ours"), theirWays()])).flat();
  const works = ["ours", "world", "others", "world"];

  beforeAll(async () => {
    await here.open();
    podman = await Podman.open(podmanPrograms()!, engine.onHost);
  }, 60_000);
  afterAll(async () => {
    await podman?.[Symbol.asyncDispose]();
    await here[Symbol.asyncDispose]();
  }, 60_000);

  test("both publish ports and reach the outside, neither takes the other's ports or subnets", async () => {
    await podman.start("others", ["-p", "9090:80"], ...serving("others"));
    const alone = await here.theirs();
    await engine.ok("run", "-d", "--name", "ours", "-p", "8080:80", "busybox", ...serving("ours"));
    await until("all to work", async () => Bun.deepEquals(await all(), works));
    expect(await here.theirs()).toBe(alone);
    expect(await engine.refused("run", "--rm", "-p", "9090:80", "busybox", "true")).toContain("address already in use");
    expect(await podman.refused("run", "--rm", "-p", "8080:80", "--rootfs", podman.tree, "true")).toContain("address already in use");
    await engine.ok("network", "create", "ournet");
    await podman.ok("network", "create", "theirnet");
    const subnets = [
      ...(await engine.ok("network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}}{{end}}", "bridge", "ournet")).split("\n"),
      ...(await podman.ok("network", "inspect", "-f", "{{range .Subnets}}{{.Subnet}}{{end}}", "podman", "theirnet")).split("\n"),
    ];
    expect(new Set(subnets).size).toBe(4);
  }, 60_000);

  test("whoever comes and goes leaves the other's rules as they were, byte for byte", async () => {
    const before = await here.theirs();
    await engine.ok("run", "-d", "--name", "more", "--network", "ournet", "-p", "8081:80", "busybox", ...serving("more"));
    await engine.ok("rm", "-f", "more");
    await engine.ok("network", "rm", "ournet");
    expect(await here.theirs()).toBe(before);
    await engine.stop();
    expect([await here.theirs(), await theirWays()]).toEqual([before, ["others", "world"]]);
    await engine.start();
    expect([await here.theirs(), await all()]).toEqual([before, works]);

    const ours = await here.ours();
    await podman.start("guest", ["-p", "9091:80", "--network", "theirnet"], ...serving("guest"));
    const guestWays = (): Promise<string[]> => here.ways(9091, podman.command("exec", "guest"));
    await until("the guest to work", async () => Bun.deepEquals(await guestWays(), ["guest", "world"]));
    expect(await here.ours()).toBe(ours);
    await podman.ok("rm", "-f", "-t", "0", "guest");
    await podman.ok("stop", "-t", "0", "others");
    expect([await here.ours(), await here.ourWays(8080, "ours")]).toEqual([ours, ["ours", "world"]]);
    await podman.ok("start", "others");
    await until("all to work again", async () => Bun.deepEquals(await all(), works));
    expect(await here.ours()).toBe(ours);
  }, 60_000);

  test("a policy of DROP in FORWARD, and a flush of all rules", async () => {
    await here.onHost("iptables", "-P", "FORWARD", "DROP");
    await until("the one rule", async () => (await here.theirs()).includes("0x00e00000"));
    // the way in to Podman's is closed by it, with or without us: Podman 4 accepts what goes out and its answers
    expect(await here.ourWays(8080, "ours")).toEqual(["ours", "world"]);
    await podman.ok("network", "reload", "--all");
    expect(await here.ourWays(8080, "ours")).toEqual(["ours", "world"]);
    await here.onHost("iptables", "-P", "FORWARD", "ACCEPT");
    expect(await all()).toEqual(works);

    await here.onHost("nft", "flush", "ruleset");
    await until("our own to work after the flush", async () => Bun.deepEquals(await here.ourWays(8080, "ours"), ["ours", "world"]));
    await podman.ok("network", "reload", "--all");
    expect(await all()).toEqual(works);
  }, 60_000);
});
