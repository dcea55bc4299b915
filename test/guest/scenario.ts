import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { api, check, endWithoutEngine, equal, ok, run, startEngine, state, stopEngine, until, type State } from "./inside.ts";
import { prepareNfs, startNfs, stopNfs } from "./nfs.ts";

/**
 * Runs inside the guest, by the compiled executable itself as Bun. The outer test expects a fixed list of checks.
 */
interface Stats {
  memory_stats: { usage: number; limit: number };
  pids_stats: { current: number };
  cpu_stats: { cpu_usage: { total_usage: number } };
}

const cgroupsLeft = (): string[] => (readdirSync("/sys/fs/cgroup", { recursive: true }) as string[]).filter((path) => /[0-9a-f]{64}/.test(path));

/** The host's own, on the default network. */
const bridgeAddress = (): string => /\d+\.\d+\.\d+\.\d+/.exec(Bun.spawnSync(["ip", "-4", "addr", "show", "berth0"]).stdout.toString())?.[0] ?? "";

await check("the engine starts on cgroup v2", async () => {
  await startEngine();
  const info = await api<{ CgroupVersion: string; CgroupDriver: string }>("/info");
  equal([info.CgroupVersion, info.CgroupDriver], ["2", "cgroupfs"]);
});
endWithoutEngine();
await check("an image is loaded", async () => {
  equal((await ok("load", "-i", "/guest/image.tar")).includes("guest:latest"), true);
});
await check("limits of memory, cpu and pids", async () => {
  const files = ["memory.max", "memory.swap.max", "cpu.max", "cpu.weight", "pids.max", "cpuset.cpus"].map((name) => `/sys/fs/cgroup/${name}`);
  const limits = ["-m", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--cpu-shares", "512", "--pids-limit", "50", "--cpuset-cpus", "0"];
  const out = await ok("run", "--rm", ...limits, "guest", "sh", "-c", `for f in ${files.join(" ")}; do [ -e $f ] && cat $f || echo none; done`);
  const [memory, swap, cpu, weight, pids, cpus] = out.split("\n");
  equal([memory, cpu, pids, cpus], ["67108864", "50000 100000", "50", "0"]);
  equal(swap === "0" || swap === "none", true);
  equal(Number(weight) > 10 && Number(weight) < 60, true);
});
await check("Docker's AppArmor profile is loaded and holds", async () => {
  const tell = ["--cap-add", "SYS_ADMIN", "guest", "sh", "-c", "cat /proc/self/attr/current; mkdir /m; mount -t tmpfs none /m && echo mounted || echo refused"];
  equal((await ok("run", "--name", "confined", ...tell)).split("\n"), ["docker-default (enforce)", "refused"]);
  equal((await ok("run", "--rm", "--security-opt", "apparmor=unconfined", ...tell)).split("\n"), ["unconfined", "mounted"]);
  equal((await ok("run", "--rm", "--privileged", ...tell)).split("\n"), ["unconfined", "mounted"]);
  equal((await api<{ AppArmorProfile: string }>("/containers/confined/json")).AppArmorProfile, "docker-default");
  equal((await api<{ SecurityOptions: string[] }>("/info")).SecurityOptions.includes("name=apparmor"), true);
  // this data root lies on a tmpfs, which has no project quotas
  equal((await run("create", "--storage-opt", "size=8m", "guest")).err.includes("--storage-opt is supported only for"), true);
  await ok("rm", "confined");
});
await check("a container sees its own cgroup as the root", async () => {
  equal(await ok("run", "--rm", "guest", "cat", "/proc/self/cgroup"), "0::/");
});
await check("the pids limit holds", async () => {
  const { code, err } = await run("run", "--rm", "--pids-limit", "5", "guest", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done");
  equal([code !== 0, /fork|resource/i.test(err)], [true, true]);
});
await check("an OOM kill is told", async () => {
  const { code } = await run("run", "--name", "oom", "-m", "16m", "--memory-swap", "16m", "guest", "tail", "/dev/zero");
  const { OOMKilled, ExitCode } = await state("oom");
  equal([code, OOMKilled, ExitCode], [137, true, 137]);
});
await check("an OOM kill is told while the container runs", async () => {
  await ok("run", "-d", "--name", "hog", "-m", "16m", "--memory-swap", "16m", "guest", "sh", "-c", "tail /dev/zero; sleep 1000");
  await until("the kill is told", async () => (await state("hog")).OOMKilled);
  equal((await state("hog")).Status, "running");
  await ok("rm", "-f", "hog");
});
await check("exit codes", async () => {
  equal((await run("run", "--rm", "guest", "sh", "-c", "exit 42")).code, 42);
  equal((await run("run", "--rm", "guest", "/nope")).code, 127);
});
await check("exec", async () => {
  await ok(
    "run",
    "-d",
    "--name",
    "main",
    "-m",
    "64m",
    "guest",
    "sh",
    "-c",
    "trap 'exit 9' TERM; i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done",
  );
  const { code, out } = await run("exec", "main", "sh", "-c", "cat /proc/self/cgroup; exit 3");
  equal([code, out], [3, "0::/"]);
});
await check("stats and top", async () => {
  const stats = await api<Stats>("/containers/main/stats?stream=false&one-shot=true");
  equal(
    [stats.memory_stats.usage > 0, stats.memory_stats.limit, stats.pids_stats.current > 0, stats.cpu_stats.cpu_usage.total_usage > 0],
    [true, 67108864, true, true],
  );
});
await check("pause and unpause", async () => {
  await ok("pause", "main");
  equal((await state("main")).Status, "paused");
  await ok("unpause", "main");
  equal((await state("main")).Status, "running");
});
await check("limits are updated", async () => {
  await ok("update", "-m", "96m", "--memory-swap", "96m", "main");
  equal(await ok("exec", "main", "cat", "/sys/fs/cgroup/memory.max"), "100663296");
});
await check("a published port", async () => {
  await ok("run", "-d", "--name", "web", "-p", "8080:80", "guest", "sh", "-c", "mkdir /www; echo hello > /www/x; exec httpd -f -p 80 -h /www");
  for (const host of ["127.0.0.1", bridgeAddress()]) {
    await until(
      `an answer on ${host}`,
      async () =>
        (await fetch(`http://${host}:8080/x`).then(
          (answer) => answer.text(),
          () => "",
        )) === "hello\n",
    );
  }
});
await check("a published SCTP port", async () => {
  await ok("run", "-d", "--name", "sctp", "-p", "9999:7777/sctp", "guest", "sleep", "1000");
  const { Pid } = await state("sctp");
  const env = { PATH: "/usr/bin:/bin", HOME: "/root", BUN_BE_BUN: "1" };
  const program = ["/usr/bin/berth", "run", "/guest/tree/test/guest/sctp.ts"];
  await using server = Bun.spawn(["nsenter", `--net=/proc/${Pid}/ns/net`, ...program, "serve", "7777"], { env, stdout: "pipe", stderr: "inherit" });
  await server.stdout.getReader().read(); // it listens
  const asked = Bun.spawnSync(["timeout", "30", ...program, "ask", bridgeAddress(), "9999", "hello"], { env });
  equal([asked.stdout.toString(), asked.stderr.toString()], ["HELLO\n", ""]);
  await ok("rm", "-f", "sctp");
});
await check("volumes", async () => {
  await ok("run", "--rm", "-v", "data:/d", "guest", "sh", "-c", "echo kept > /d/f");
  equal(await ok("run", "--rm", "-v", "data:/d:ro", "guest", "cat", "/d/f"), "kept");
  equal(await ok("run", "--rm", "-v", "/guest:/g:ro", "guest", "ls", "/g/image.tar"), "/g/image.tar");
  await ok("volume", "rm", "data");
});
await check("a volume on a server", async () => {
  prepareNfs("/export");
  startNfs("/export");
  await ok("volume", "create", "-o", "type=nfs", "-o", "o=addr=127.0.0.1,vers=4,rw", "-o", "device=:/", "served");
  await ok("run", "--rm", "-v", "served:/v", "guest", "sh", "-c", "echo kept > /v/f");
  equal(readFileSync("/export/f", "utf8"), "kept\n");
  const mounted = await ok("run", "--rm", "-v", "served:/v:ro", "guest", "sh", "-c", "cat /v/f; grep -o '/v nfs4 ro' /proc/mounts");
  equal(mounted.split("\n"), ["kept", "/v nfs4 ro"]);
});
await check("a server that doesn't answer keeps nobody waiting but who wants its files", async () => {
  await ok("run", "-d", "--name", "user", "-v", "served:/v", "guest", "sleep", "1000");
  stopNfs();
  let isOver = false;
  const second = run("run", "--name", "second", "-v", "served:/v:nocopy", "guest", "true").finally(() => (isOver = true));
  await until("the second container is there", async () => (await api<{ State?: State }>("/containers/second/json")).State !== undefined);
  equal((await run("volume", "rm", "served")).err.includes("volume is in use"), true);
  await ok("rm", "-f", "user");
  equal(isOver, false);
  startNfs("/export");
  equal((await second).code, 0);
  await ok("rm", "second");
  await ok("volume", "rm", "served");
  equal(readFileSync("/proc/mounts", "utf8").includes(" nfs4 "), false);
});
await check("networks on a parent, or on none", async () => {
  for (const driver of ["macvlan", "ipvlan"]) {
    await ok("network", "create", "-d", driver, "--subnet", "10.60.0.0/24", "-o", `${driver}_mode=${driver === "macvlan" ? "bridge" : "l2"}`, "on-none");
    await ok("run", "-d", "--name", "first", "--network", "on-none", "guest", "sleep", "1000");
    await ok("run", "--rm", "--network", "on-none", "guest", "sh", "-c", "nslookup first && ping -c1 -W5 first");
    await ok("rm", "-f", "first");
    await ok("network", "rm", "on-none");
  }
  equal(
    readdirSync("/sys/class/net").filter((name) => /^d[im]-/.test(name)),
    [],
  );
  const tests = ["network-driver", "parent-networks"].map((name) => `/guest/tree/test/kernel/${name}.test.ts`);
  const env = { PATH: "/usr/bin:/bin", HOME: "/root", BUN_BE_BUN: "1", BERTH_TEST_NAMESPACE: "1" };
  const inside = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "/usr/bin/berth", "test", "--timeout", "120000"];
  const { exitCode, stdout, stderr } = Bun.spawnSync([...inside, "-t", "vlan|parent", ...tests], { cwd: "/guest/tree", env });
  equal([exitCode, exitCode === 0 ? "" : stdout.toString() + stderr.toString()], [0, ""]);
});
await check("a build", async () => {
  await ok("build", "-q", "-t", "made", "-m", "64m", "/guest/context");
  equal(await ok("run", "--rm", "made"), "67108864");
});
await check("a killed engine's containers live on and are adopted", async () => {
  await ok("run", "-d", "--name", "ends", "guest", "sh", "-c", "sleep 4; echo done; exit 7");
  const pid = (await state("main")).Pid;
  await stopEngine("SIGKILL");
  await Bun.sleep(6000);
  await startEngine();
  const main = await state("main");
  equal([main.Status, main.Pid], ["running", pid]);
  const ends = await state("ends");
  equal([ends.Status, ends.ExitCode], ["exited", 7]);
  equal((await ok("logs", "ends")).includes("done"), true);
  const numbers = (await ok("logs", "main")).split("\n").map((line) => Number(line.slice(5)));
  equal(numbers.every((number, index) => number === index + 1) && numbers.length > 20, true);
  equal((await run("exec", "main", "true")).code, 0);
  equal(await fetch("http://127.0.0.1:8080/x").then((answer) => answer.text()), "hello\n");
});
await check("stop", async () => {
  await ok("stop", "main");
  const { Status, ExitCode } = await state("main");
  equal([Status, ExitCode], ["exited", 9]);
});
await check("nothing is left", async () => {
  await ok("rm", "-f", "main", "web", "oom", "ends");
  equal(await ok("ps", "-aq"), "");
  await until("no cgroup of a container is left", async () => cgroupsLeft().length === 0);
  equal(await stopEngine("SIGTERM"), 0);
  const mounts = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .filter((line) => /\/(run|var)\/\S*berth/.test(line.split(" ")[1] ?? ""));
  equal(mounts, []);
  const links = readdirSync("/sys/class/net").filter((name) => /^veth|^br/.test(name));
  equal(
    links.filter((name) => name !== "berth0"),
    [],
  );
  equal(existsSync("/var/lib/berth/engine.db"), true);
});
await check("user namespaces: refused on a tmpfs, which this kernel can't map, and there on a disk", async () => {
  const remap = ["--userns-remap", "default"];
  const refusal = await startEngine(remap).then(
    () => "none",
    (error: Error) => error.message,
  );
  equal(refusal.includes("user namespaces need idmapped mounts under overlayfs"), true);
  // an ext2, which can't reserve space either
  const disk = "dd if=/dev/zero of=/tmp/disk bs=1M count=64 && mke2fs -F /tmp/disk && mkdir /disk && mount -t ext4 -o loop /tmp/disk /disk";
  equal(Bun.spawnSync(["sh", "-c", disk]).exitCode, 0);
  await startEngine(remap, "/disk/berth");
  await ok("load", "-i", "/guest/image.tar");
  const script = "cat /proc/self/uid_map /proc/self/cgroup; mkdir /own; chown 5:6 /own; stat -c %u:%g /own /bin; touch /v/f";
  const lines = (await ok("run", "--name", "mapped", "-m", "64m", "-v", "vol:/v", "guest", "sh", "-c", script)).split("\n").map((line) => line.trim());
  equal([lines[0]?.split(/ +/), ...lines.slice(1)], [["0", "100000", "65536"], "0::/", "5:6", "0:0"]);
  equal(statSync("/disk/berth/volumes/vol/_data/f").uid, 100000);
  await ok("commit", "mapped", "kept");
  equal(await ok("run", "--rm", "--userns", "host", "kept", "stat", "-c", "%u:%g", "/own"), "5:6");
  await ok("run", "-d", "--name", "web2", "-p", "8081:80", "guest", "sh", "-c", "mkdir /www; echo mapped > /www/x; exec httpd -f -p 80 -h /www");
  const answer = (): Promise<string> =>
    fetch("http://127.0.0.1:8081/x").then(
      (response) => response.text(),
      () => "",
    );
  await until("an answer", async () => (await answer()) === "mapped\n");
  equal(await ok("exec", "web2", "cat", "/proc/self/cgroup"), "0::/");
  await ok("rm", "-f", "web2", "mapped");
  await stopEngine("SIGTERM");
  equal(cgroupsLeft(), []);
});
await check("budgets of real-time scheduling are refused where cgroups have none", async () => {
  const why = await startEngine(["--cpu-rt-runtime", "1000"], "/quota/berth").then(
    () => "it started",
    (error: Error) => error.message,
  );
  equal(why.includes("daemon-scoped cpu-rt-period and cpu-rt-runtime are not implemented for cgroup v2"), true);
});
await check("a storage limit holds", async () => {
  await startEngine([], "/quota/berth");
  await ok("load", "-i", "/guest/image.tar");
  // moves between overlay's own directories stay within the project
  const script = "mkdir /a && mv /bin/ls /a/x && rm -r /a && echo moved; dd if=/dev/zero of=/big bs=1M count=12 2>/dev/null; stat -c %s /big";
  const [moved, size] = (await ok("run", "--rm", "--storage-opt", "size=8m", "guest", "sh", "-c", script)).split("\n");
  equal([moved, Number(size) > 7 << 20, Number(size) <= 8 << 20], ["moved", true, true]);
  await ok("volume", "create", "-o", "size=3m", "limited");
  const fill = "dd if=/dev/zero of=/v/big bs=64k count=100 2>/dev/null; stat -c %s /v/big";
  const limited = Number(await ok("run", "--rm", "-v", "limited:/v", "guest", "sh", "-c", fill));
  equal([limited > 2 << 20, limited <= 3 << 20], [true, true]);
  await ok("volume", "rm", "limited");
  await ok("volume", "create", "-o", "size=1g", "limited");
  equal((await run("volume", "create", "-o", "size=1m", "-o", "type=tmpfs", "-o", "device=tmpfs", "both")).code, 1);
  await stopEngine("SIGTERM");
});
await check("the engine's storage limit holds for containers that have none of their own", async () => {
  await startEngine(["--storage-opt", "overlay2.size=6m"], "/quota/berth");
  const fill = ["guest", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=12 2>/dev/null; stat -c %s /big"];
  const limited = Number(await ok("run", "--name", "limited", ...fill));
  const own = Number(await ok("run", "--rm", "--storage-opt", "size=9m", ...fill));
  equal([limited > 5 << 20, limited <= 6 << 20, own > 8 << 20, own <= 9 << 20], [true, true, true, true]);
  equal(await ok("inspect", "--format", "{{.HostConfig.StorageOpt.size}}", "limited"), String(6 << 20));
  await ok("rm", "limited");
  await stopEngine("SIGTERM");
});
