import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { debianProgram } from "./debian.ts";

/** Folders of a Docker daemon and what it starts: on PATH, or Debian's packages unpacked. undefined where one is missing. */
export function dockerdPath(): string | undefined {
  const programs = [
    debianProgram("dockerd", "usr/sbin/dockerd", "docker.io"),
    debianProgram("containerd", "usr/bin/containerd"),
    debianProgram("runc", "usr/sbin/runc"),
  ];
  return programs.includes(undefined) ? undefined : programs.map((program) => dirname(program!)).join(":");
}

/** A Docker daemon with roots of its own, in namespaces of its own. */
export interface Dockerd extends AsyncDisposable {
  version: string;
  /** Where it listens. */
  socket: string;
  request(method: string, path: string, body?: Blob): Promise<Response>;
}

/** What it would write outside of its roots; hidden from it by empty folders. */
const touched = ["/etc/docker", "/run/docker", "/opt/containerd", "/var/lib/docker"];

/** @param onHost what enters the network that it is to work in, with its bridge and rules; without, it has neither: for images, not for containers */
export async function startDockerd(path: string, onHost?: readonly string[]): Promise<Dockerd> {
  const root = mkdtempSync(join(tmpdir(), "berth-dockerd-"));
  const hide = `for d in ${touched.join(" ")}; do [ ! -d $d ] || mount -t tmpfs none $d; done`;
  const options = `--data-root ${root}/data --exec-root ${root}/run --pidfile ${root}/pid --host unix://${root}/s --config-file ${root}/none`;
  const network = onHost === undefined ? "--bridge none --iptables=false --ip6tables=false --userland-proxy=false" : "";
  const command = `${hide}; echo '{}' >${root}/none; exec dockerd ${options} ${network} >${root}/log 2>&1`;
  // A process namespace takes containerd with it, whatever happens.
  const child = Bun.spawn([...(onHost ?? ["unshare", "--net"]), "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", command], {
    env: { ...process.env, PATH: `${path}:${process.env["PATH"] ?? ""}` },
    stdio: ["ignore", "ignore", "ignore"],
  });
  const request = (method: string, where: string, body?: Blob): Promise<Response> =>
    fetch(`http://docker${where}`, { method, unix: join(root, "s"), ...(body && { body, headers: { "content-type": "application/x-tar" } }) });
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await child.exited;
    rmSync(root, { recursive: true, force: true });
  };
  for (let i = 0; i < 1000 && child.exitCode === null; i++) {
    const answer = await request("GET", "/version").catch(() => undefined);
    if (answer?.ok === true) {
      const { Version: version } = (await answer.json()) as { Version: string };
      return { version, socket: join(root, "s"), request, [Symbol.asyncDispose]: stop };
    }
    await Bun.sleep(20);
  }
  const log = readFileSync(join(root, "log"), "utf8");
  await stop();
  throw new Error(`dockerd doesn't answer: ${log.slice(-2000)}`);
}
