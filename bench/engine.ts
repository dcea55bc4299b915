import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/** One engine to be measured, by its socket. */
export interface Target extends AsyncDisposable {
  name: string;
  socket: string;
  /** Clients to time `run --rm` with: label and command up to the arguments. */
  clients: { label: string; command: string[] }[];
  /** Pids of everything that belongs to the engine now. */
  processes(): number[];
  /** Milliseconds from the start of the program to its first answer, where we start it. */
  startUp?: () => Promise<number>;
}

const berth = resolve(import.meta.dir, "../dist/berth");

/** Engine API calls over one kept connection. */
export async function call(socket: string, method: string, path: string, body?: unknown): Promise<{ status: number; json: unknown }> {
  const isTar = body instanceof Uint8Array;
  const response = await fetch(`http://engine/v1.41${path}`, {
    unix: socket,
    method,
    ...(body === undefined
      ? {}
      : { body: isTar ? (body as never) : JSON.stringify(body), headers: { "content-type": isTar ? "application/x-tar" : "application/json" } }),
  });
  const text = await response.text();
  if (response.status >= 400) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return { status: response.status, json: text.startsWith("{") && !text.trimEnd().includes("\n") ? JSON.parse(text) : text };
}

async function answers(socket: string): Promise<boolean> {
  return await fetch("http://engine/_ping", { unix: socket }).then(
    (response) => response.ok,
    () => false,
  );
}

async function waitFor(socket: string, child: Bun.Subprocess, log: string): Promise<void> {
  while (!(await answers(socket))) {
    if (child.exitCode !== null) throw new Error(`the engine ended with code ${child.exitCode}:\n${readFileSync(log, "utf8").slice(-2000)}`);
    await Bun.sleep(1);
  }
}

/** All processes whose name or command line `isOurs` knows. */
function processesWhere(isOurs: (name: string, command: string) => boolean): number[] {
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .map(Number)
    .filter((pid) => {
      try {
        return isOurs(readFileSync(`/proc/${pid}/comm`, "utf8").trim(), readFileSync(`/proc/${pid}/cmdline`, "utf8"));
      } catch {
        return false; // ended meanwhile
      }
    });
}

/** Proportional set size of all of them, in MB. */
export function memoryOf(pids: readonly number[]): number {
  const kilobytes = pids.map((pid) => {
    try {
      return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1] ?? 0);
    } catch {
      return 0;
    }
  });
  return kilobytes.reduce((sum, each) => sum + each, 0) / 1024;
}

/** This checkout's engine, on a private root and in a network namespace of its own. */
export async function startBerth(docker: string | null): Promise<Target> {
  const root = mkdtempSync(join(tmpdir(), "berth-bench-"));
  const socket = join(root, "berth.sock");
  const log = join(root, "log");
  mkdirSync(join(root, "config"));
  const holder = Bun.spawn(["unshare", "--net", "sh", "-c", "busybox ip link set lo up && exec sleep 100000"], { stdio: ["ignore", "ignore", "ignore"] });
  while (readlinkSync(`/proc/${holder.pid}/ns/net`) === readlinkSync("/proc/self/ns/net")) await Bun.sleep(1);
  let engine: Bun.Subprocess | undefined;
  const start = async (): Promise<number> => {
    const fd = openSync(log, "a");
    const enter = ["nsenter", `--net=/proc/${holder.pid}/ns/net`];
    const roots = ["--data-root", join(root, "data"), "--exec-root", join(root, "run"), "--host", `unix://${socket}`];
    const begun = performance.now();
    engine = Bun.spawn([...enter, berth, "daemon", "--config-file", "/dev/null", ...roots, "--live-restore=false"], { stdio: ["ignore", fd, fd] });
    closeSync(fd);
    await waitFor(socket, engine, log);
    return performance.now() - begun;
  };
  const stop = async (): Promise<void> => {
    engine?.kill("SIGTERM");
    await engine?.exited;
  };
  const client = (command: string[], label: string): Target["clients"][number] => ({ label, command: [...command, "-H", `unix://${socket}`] });
  const target: Target = {
    name: "Berth",
    socket,
    clients: [client([berth], "berth"), ...(docker === null ? [] : [client([docker], "docker")])],
    processes: () => processesWhere((_, command) => command.includes(root) && !command.includes("sleep 100000")),
    startUp: async () => {
      await stop();
      return await start();
    },
    [Symbol.asyncDispose]: async () => {
      await stop();
      holder.kill("SIGKILL");
      await holder.exited;
      rmSync(root, { recursive: true, force: true });
    },
  };
  try {
    await start();
  } catch (error) {
    await target[Symbol.asyncDispose]();
    throw error;
  }
  return target;
}

/**
 * An engine that runs already, e.g. Docker's on its usual socket. undefined where nothing answers. `isPart` knows its processes by name; without it
 * nothing is said of memory.
 */
export async function runningEngine(name: string, socket: string, docker: string | null, isPart?: RegExp): Promise<Target | undefined> {
  if (!(await answers(socket))) return undefined;
  const { json } = await call(socket, "GET", "/version");
  return {
    name: `${name} ${(json as { Version: string }).Version}`,
    socket,
    clients: docker === null ? [] : [{ label: "docker", command: [docker, "-H", `unix://${socket}`] }],
    processes: () => (isPart === undefined ? [] : processesWhere((comm) => isPart.test(comm))),
    [Symbol.asyncDispose]: async () => {},
  };
}

/** Podman's own service, started for the time of the measurement. undefined where Podman isn't installed. */
export async function startPodman(docker: string | null): Promise<Target | undefined> {
  const podman = Bun.which("podman");
  if (podman === null) return undefined;
  const root = mkdtempSync(join(tmpdir(), "berth-bench-podman-"));
  const socket = join(root, "podman.sock");
  const log = join(root, "log");
  const fd = openSync(log, "a");
  const service = Bun.spawn([podman, "system", "service", "--time=0", `unix://${socket}`], { stdio: ["ignore", fd, fd] });
  closeSync(fd);
  await waitFor(socket, service, log);
  const version = Bun.spawnSync([podman, "--version"]).stdout.toString().trim().split(" ").at(-1) ?? "";
  return {
    name: `Podman ${version}`,
    socket,
    clients: [{ label: "podman", command: [podman] }, ...(docker === null ? [] : [{ label: "docker", command: [docker, "-H", `unix://${socket}`] }])],
    processes: () => processesWhere((comm, command) => /^(podman|netavark|aardvark-dns)$/.test(comm) || (comm === "conmon" && !command.includes("berth"))),
    [Symbol.asyncDispose]: async () => {
      service.kill("SIGTERM");
      await service.exited;
      rmSync(root, { recursive: true, force: true });
    },
  };
}
