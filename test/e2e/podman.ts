import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { debianProgram, triple, unpackedTree } from "./debian.ts";
import { makeBusyboxTree, run, said, until } from "./harness.ts";

export interface PodmanPrograms {
  podman: string;
  netavark: string;
  /** Where libraries lie that may not be installed. */
  libraries: string[];
}

/** Podman with netavark: on PATH, or Debian's packages unpacked. undefined where one is missing, or doesn't run here. */
export function podmanPrograms(): PodmanPrograms | undefined {
  const podman = debianProgram("podman", "usr/bin/podman");
  const netavark = debianProgram("netavark", "usr/lib/podman/netavark");
  if (podman === undefined || netavark === undefined) return undefined;
  const trees = ["libsubid4", "libgpgme11", "libassuan0", "libdevmapper1.02.1"].flatMap((name) => unpackedTree(name) ?? []);
  const libraries = trees.flatMap((tree) => [join(tree, "usr/lib", triple), join(tree, "lib", triple)]);
  const env = { LD_LIBRARY_PATH: libraries.join(":") };
  return Bun.spawnSync([podman, "--help"], { env, stdout: "ignore", stderr: "ignore" }).exitCode === 0 ? { podman, netavark, libraries } : undefined;
}

/** A Podman with roots of its own, on another's network. Its containers end with it. */
export class Podman implements AsyncDisposable {
  readonly #root = mkdtempSync(join(tmpdir(), "berth-podman-"));
  readonly #holder: Bun.Subprocess;
  readonly #programs: PodmanPrograms;
  /** The first process of its process namespace. */
  #first = "";

  private constructor(programs: PodmanPrograms, onHost: readonly string[]) {
    this.#programs = programs;
    // what it writes outside of its roots lies below /run
    const script = "mount -t tmpfs -o mode=755 none /run && mkdir /run/lock && exec sleep 100000";
    const own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    this.#holder = Bun.spawn([...onHost, ...own, "sh", "-c", script], { stdio: ["ignore", "ignore", "inherit"] });
  }

  /** @param onHost what enters the network that it is to work in */
  static async open(programs: PodmanPrograms, onHost: readonly string[]): Promise<Podman> {
    const podman = new Podman(programs, onHost);
    makeBusyboxTree(podman.tree);
    mkdirSync(join(podman.tree, "w"));
    const helpers = programs.netavark.replace(/\/[^/]+$/, "");
    podman.#write("containers.conf", [
      '[containers]\nlog_driver="k8s-file"\ncgroups="disabled"',
      `[engine]\ncgroup_manager="cgroupfs"\nevents_logger="file"\nruntime="crun"\nhelper_binaries_dir=["${helpers}"]`,
      `[network]\nnetwork_backend="netavark"\nnetwork_config_dir="${podman.#root}/networks"`,
    ]);
    podman.#write("storage.conf", [`[storage]\ndriver="overlay"\nrunroot="/run/containers/storage"\ngraphroot="${podman.#root}/data"`]);
    // nsenter, unshare and the shell are each one in the other
    const child = async (pid: number | string): Promise<string> => (await run(["cat", `/proc/${pid}/task/${pid}/children`])).stdout.trim();
    podman.#first = await until("Podman's namespaces", async () => {
      const pid = await child(podman.#holder.pid);
      return (await run(["cat", `/proc/${pid}/comm`])).stdout.trim() === "sleep" ? pid : undefined;
    });
    return podman;
  }

  /** Root file system of its containers: busybox. */
  get tree(): string {
    return join(this.#root, "busybox");
  }

  #write(name: string, parts: string[]): void {
    writeFileSync(join(this.#root, name), `${parts.join("\n")}\n`);
  }

  /** A container `name` of busybox that runs `command`. */
  async start(name: string, flags: readonly string[], ...command: string[]): Promise<void> {
    await this.ok("run", "-d", "--name", name, ...flags, "--rootfs", this.tree, ...command);
  }

  /** The command line that runs podman with `args`. */
  command(...args: string[]): string[] {
    const settings = [
      `CONTAINERS_CONF=${this.#root}/containers.conf`,
      `CONTAINERS_STORAGE_CONF=${this.#root}/storage.conf`,
      `LD_LIBRARY_PATH=${this.#programs.libraries.join(":")}`,
      "PODMAN_IGNORE_CGROUPSV1_WARNING=1",
    ];
    return ["nsenter", `--target=${this.#first}`, "--net", "--mount", "--pid", "env", ...settings, this.#programs.podman, ...args];
  }

  /** podman, which must succeed; what it said. */
  async ok(...args: string[]): Promise<string> {
    return await said(...this.command(...args));
  }

  /** podman, which must fail; its words. */
  async refused(...args: string[]): Promise<string> {
    const { code, stderr } = await run(this.command(...args));
    if (code === 0) throw new Error(`podman ${args.join(" ")}: not refused`);
    return stderr;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#holder.kill("SIGKILL");
    await this.#holder.exited;
    rmSync(this.#root, { recursive: true, force: true });
  }
}
