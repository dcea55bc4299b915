import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { type Dockerd, dockerdPath, startDockerd } from "./dockerd.ts";
import { Engine, run, until } from "./harness.ts";

/** A dockerd with its bridge and its rules, on the same network as the engine, as two engines on one host have it. */
describe.skipIf(skipped("root", "overlay", "docker", "dockerd", "iptables"))("beside a real dockerd", () => {
  const engine = new Engine();
  let dockerd: Dockerd;
  let outside: Bun.Subprocess;

  const onHost = async (...command: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run([...engine.onHost, ...command]);
    if (code !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
    return stdout.trim();
  };
  const theirs = async (): Promise<string> =>
    (await onHost("nft", "-s", "list", "ruleset")).replace(/^table (inet|ip6?) berth_\w+ \{\n.*?^\}\n?/gms, "").trim();
  const withoutAccept = (rules: string): string => rules.replace(/\n\t\tmeta mark & 0x00e00000 == 0x00e00000 counter accept/, "");
  const docker = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run([engine.dockerProgram, "-H", `unix://${dockerd.socket}`, ...args]);
    if (code !== 0) throw new Error(`dockerd's ${args.join(" ")}: ${stderr}`);
    return stdout.trim();
  };
  const serving = (name: string): string[] => ["busybox", "sh", "-c", `mkdir /w; echo ${name} >/w/index.html; exec httpd -f -p 80 -h /w`];
  const fetched = async (where: string[], url: string): Promise<string> =>
    (await run([...where, "timeout", "3", "busybox", "wget", "-qO-", url])).stdout.trim();
  const inOutside = (): string[] => ["nsenter", `--target=${outside.pid}`, "--net"];
  /** What the outside gets of both engines' ports, and both engines' containers of the outside. */
  const all = (): Promise<string[]> =>
    Promise.all([
      fetched(inOutside(), "http://192.0.2.1:8080/"),
      fetched(inOutside(), "http://192.0.2.1:9090/"),
      fetched([engine.dockerProgram, "-H", `unix://${engine.socket}`, "exec", "ours"], "http://192.0.2.9:7/"),
      fetched([engine.dockerProgram, "-H", `unix://${dockerd.socket}`, "exec", "others"], "http://192.0.2.9:7/"),
    ]);
  const works = ["ours", "others", "world", "world"];

  beforeAll(async () => {
    await engine.start();
    await engine.importBusybox();
    const web = `mkdir -p ${engine.root}/world; echo world >${engine.root}/world/index.html; exec busybox httpd -f -p 7 -h ${engine.root}/world`;
    outside = Bun.spawn(["unshare", "--net", "sh", "-c", web], { stdio: ["ignore", "ignore", "inherit"] });
    await Bun.sleep(100);
    await onHost("sh", "-ec", `ip link add world type veth peer name eth0 netns ${outside.pid}; ip addr add 192.0.2.1/24 dev world; ip link set world up`);
    await run([...inOutside(), "sh", "-c", "ip link set lo up; ip addr add 192.0.2.9/24 dev eth0; ip link set eth0 up"]);
    dockerd = await startDockerd(dockerdPath()!, engine.onHost);
    await docker("import", "-c", "ENV PATH=/bin", join(engine.root, "busybox.tar"), "busybox:latest");
  }, 60_000);
  afterAll(async () => {
    // dockerd is killed, and its containers with it, but their cgroups would stay
    if (dockerd !== undefined) await docker("rm", "-f", "others").catch(console.error);
    await dockerd?.[Symbol.asyncDispose]();
    outside?.kill("SIGKILL");
    await outside?.exited;
    await engine[Symbol.asyncDispose]();
  }, 60_000);

  test("both publish ports and reach the outside, whatever policy FORWARD has and whoever comes and goes", async () => {
    await engine.ok("run", "-d", "--name", "ours", "-p", "8080:80", ...serving("ours"));
    await docker("run", "-d", "--name", "others", "-p", "9090:80", ...serving("others"));
    const subnet = "{{(index .IPAM.Config 0).Subnet}}";
    expect(await engine.ok("network", "inspect", "-f", subnet, "bridge")).not.toBe(await docker("network", "inspect", "-f", subnet, "bridge"));
    await until("all to work", async () => Bun.deepEquals(await all(), works));
    expect(await engine.refused("run", "--rm", "-p", "9090:80", "busybox", "true")).toContain("address already in use");

    const open = await theirs();
    await onHost("iptables", "-P", "FORWARD", "DROP");
    const dropping = await until("the one rule", async () => ((await theirs()).includes("0x00e00000") ? await theirs() : undefined));
    expect(withoutAccept(dropping)).toBe(open.replace(/(hook forward [^\n]*policy) accept/, "$1 drop"));
    expect(await all()).toEqual(works);

    await engine.stop();
    const [, published, , world] = await all();
    expect([await theirs(), published, world]).toEqual([dropping, "others", "world"]);
    await engine.start();
    expect(await theirs()).toBe(dropping);
    expect(await all()).toEqual(works);

    await onHost("iptables", "-I", "DOCKER-USER", "-s", "192.0.2.9", "-p", "tcp", "--dport", "80", "-j", "DROP");
    expect((await all()).slice(0, 2)).toEqual(["", ""]);
    await onHost("iptables", "-F");
    await onHost("iptables", "-t", "nat", "-F");
    await until("our own to work after the flush", async () => {
      const [published, , world] = await all();
      return published === "ours" && world === "world";
    });
  }, 60_000);
});
