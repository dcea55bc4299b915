import { afterAll, beforeAll } from "bun:test";
import { closeSync, cpSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { engineKey } from "../../src/daemon/paths.ts";
import { dockerClients } from "./debian.ts";

/** The compiled executable. */
export const berth = resolve(import.meta.dir, "../../dist/berth");

export interface Output {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  stdin?: string | Uint8Array;
  env?: Record<string, string>;
  cwd?: string;
  /** Milliseconds after which the command is killed; 60 s unless told. */
  limit?: number;
}

/** Runs a command to its end. */
export async function run(command: string[], options: RunOptions = {}): Promise<Output> {
  const child = Bun.spawn(command, {
    stdin: options.stdin === undefined ? "ignore" : Buffer.from(options.stdin as string),
    stdout: "pipe",
    stderr: "pipe",
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), options.limit ?? 60_000);
  const [stdout, stderr, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  clearTimeout(timer);
  return { code, stdout, stderr };
}

export interface LaunchOptions {
  /** In a mount namespace of its own, with an /etc that can be changed without a trace, and a run root that others may pass. */
  ownEtc?: boolean;
  /** What runs the engine's command line, e.g. a shell that sets variables and ends in `exec "$@"`. */
  launcher?: string[];
  /** The engine's descriptors from 3 on. */
  fds?: number[];
  env?: Record<string, string>;
}

/** A real engine, compiled, on roots of its own, in a network namespace of its own. */
export class Engine implements AsyncDisposable {
  readonly #flags: string[];
  readonly #docker: string;
  readonly #launch: LaunchOptions;
  readonly #ownEtc: boolean;
  #root: string | undefined;
  #child: Bun.Subprocess | undefined;
  #holder: Bun.Subprocess | undefined;

  constructor(flags: string[] = [], docker = dockerClients()[0]?.program ?? "docker", launch: LaunchOptions = {}) {
    this.#docker = docker;
    this.#launch = launch;
    this.#ownEtc = launch.ownEtc === true;
    this.#flags = flags;
  }

  /** All that is its own lies here. Made when first asked for: one that never starts leaves nothing behind. */
  get root(): string {
    this.#root ??= mkdtempSync(join(tmpdir(), "berth-e2e-"));
    return this.#root;
  }

  get socket(): string {
    return join(this.root, "berth.sock");
  }

  /** `docker`: the program that stands for the stock command; the newest at hand unless told. */
  static async start(flags: string[] = [], docker?: string, launch?: LaunchOptions): Promise<Engine> {
    const engine = new Engine(flags, docker, launch);
    try {
      await engine.start();
    } catch (error) {
      await engine[Symbol.asyncDispose]();
      throw error;
    }
    return engine;
  }

  get pid(): number {
    if (this.#child === undefined) throw new Error("the engine isn't running");
    return this.#child.pid;
  }

  /** Its data root: its own, unless a flag says otherwise. */
  get data(): string {
    return this.#flag("--data-root") ?? join(this.root, "data");
  }

  /** Its run root. */
  get run(): string {
    return this.#flag("--exec-root") ?? join(this.root, "run");
  }

  #flag(name: string): string | undefined {
    const at = this.#flags.indexOf(name);
    return at < 0 ? undefined : this.#flags[at + 1];
  }

  /** What tells its cgroups, table and bridge from those of other engines */
  get key(): string {
    return engineKey(this.data);
  }

  /** A process that keeps the network namespace over restarts of the engine, as the host's does. */
  async #namespace(): Promise<number> {
    if (this.#holder === undefined) {
      const script = `${this.#ownEtc ? this.#ownMounts() : ""} busybox ip link set lo up && exec sleep 100000`;
      this.#holder = Bun.spawn(["unshare", ...this.#kinds.map((kind) => `--${kind}`), "sh", "-c", script], { stdio: ["ignore", "ignore", "inherit"] });
      for (let i = 0; i < 200 && !readFileSync(`/proc/${this.#holder.pid}/cmdline`, "utf8").startsWith("sleep"); i++) await Bun.sleep(10);
    }
    return this.#holder.pid;
  }

  /** Directories for temporary files are their owner's alone; what is mounted from there on /mnt isn't. */
  #ownMounts(): string {
    for (const name of ["run", "etc-upper", "etc-work"]) mkdirSync(join(this.root, name), { mode: 0o755 });
    const etc = `lowerdir=/etc,upperdir=${this.root}/etc-upper,workdir=${this.root}/etc-work`;
    return `mount --make-rprivate / && mount -t overlay overlay -o ${etc} /etc && mount --bind ${this.root}/run /mnt &&`;
  }

  get #kinds(): string[] {
    return this.#ownEtc ? ["net", "mount"] : ["net"];
  }

  /** Prefix of commands that are to see the engine's network (and /etc) as a process of its host does. */
  get onHost(): string[] {
    return ["nsenter", `--target=${this.#holder?.pid}`, ...this.#kinds.map((kind) => `--${kind}`)];
  }

  async start(): Promise<void> {
    mkdirSync(join(this.root, "config"), { recursive: true });
    await this.#namespace();
    const fd = openSync(join(this.root, "engine.log"), "a");
    const { launcher = [], fds = [], env } = this.#launch;
    this.#child = Bun.spawn(
      [
        ...launcher,
        ...[...this.onHost, berth, "daemon", "--config-file", "/dev/null", "--debug"],
        ...["--data-root", join(this.root, "data"), "--exec-root", this.#ownEtc ? "/mnt" : join(this.root, "run")],
        ...["--host", `unix://${this.socket}`, ...this.#flags],
      ],
      { stdio: ["ignore", fd, fd, ...fds], env: { ...process.env, ...env } },
    );
    closeSync(fd);
    for (let i = 0; i < 1000; i++) {
      if (this.#child.exitCode !== null) throw new Error(`the engine ended with code ${this.#child.exitCode}:\n${this.log()}`);
      if ((await this.api("GET", "/_ping").catch(() => undefined))?.status === 200) return;
      await Bun.sleep(10);
    }
    throw new Error(`the engine doesn't answer:\n${this.log()}`);
  }

  log(): string {
    return existsSync(join(this.root, "engine.log")) ? readFileSync(join(this.root, "engine.log"), "utf8") : "";
  }

  /** SIGKILL, in the middle of whatever it does. */
  async kill9(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#child?.exited;
    this.#child = undefined;
  }

  /** Waits for an engine that was sent signals by hand; its exit code. */
  async exited(): Promise<number> {
    const code = await this.#child!.exited;
    this.#child = undefined;
    return code;
  }

  /** SIGTERM; the exit code. */
  async stop(): Promise<number> {
    const child = this.#child;
    if (child === undefined) return 0;
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), 30_000);
    const code = await child.exited;
    clearTimeout(timer);
    this.#child = undefined;
    return code;
  }

  async api(method: string, path: string, body?: unknown): Promise<Response> {
    const late = setTimeout(() => void this.#tellState(`no answer to ${method} ${path} for a minute`), 60_000);
    try {
      return await fetch(`http://engine${path}`, {
        unix: this.socket,
        method,
        ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
      } as RequestInit);
    } finally {
      clearTimeout(late);
    }
  }

  /** What the engine does, before a test that takes too long takes it away: without it nobody learns which side hung. */
  async #tellState(why: string): Promise<void> {
    this.#child?.kill("SIGUSR1");
    await Bun.sleep(1000);
    console.error(`${why}\n${this.log().slice(-6000)}`);
  }

  #env(options: RunOptions): Record<string, string> {
    return {
      DOCKER_HOST: `unix://${this.socket}`,
      DOCKER_CONFIG: join(this.root, "config"),
      DOCKER_BUILDKIT: "0",
      DOCKER_CLI_HINTS: "false",
      LC_ALL: "C",
      ...options.env,
    };
  }

  /** The stock docker command against this engine. */
  async docker(args: string[], options: RunOptions = {}): Promise<Output> {
    return await run([this.#docker, ...args], { ...options, env: this.#env(options) });
  }

  /** docker, which must succeed; its output without the last newline. */
  async ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.docker(args);
    if (code !== 0) throw new Error(`docker ${args.join(" ")}: exit code ${code}\n${stdout}${stderr}`);
    return stdout.replace(/\n$/, "");
  }

  /** docker, which must fail; its words. */
  async refused(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.docker(args);
    if (code === 0) throw new Error(`docker ${args.join(" ")}: not refused\n${stdout}`);
    return stderr;
  }

  /** Status, exit code and error of a container. */
  async stateOf(container: string): Promise<string> {
    return await this.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", container);
  }

  /** Actions of a container's events so far. */
  async actionsOf(container: string): Promise<string[]> {
    const until = String(Date.now() / 1000);
    return (await this.ok("events", "--since", "0", "--until", until, "--filter", `container=${container}`, "--format", "{{.Action}}")).split("\n");
  }

  /** Removes all containers and their anonymous volumes. */
  async removeAll(): Promise<void> {
    const ids = (await this.ok("ps", "-aq")).split("\n").filter(Boolean);
    if (ids.length > 0) await this.ok("rm", "-fv", ...ids);
  }

  /** Berth's own command against this engine. */
  async berth(args: string[], options: RunOptions = {}): Promise<Output> {
    return await run([berth, ...args], { ...options, env: this.#env(options) });
  }

  /** The docker command's path, for use inside a terminal. */
  get dockerProgram(): string {
    return this.#docker;
  }

  /** A terminal of its own round the command, as a person has; what was typed goes in through `stdin`. */
  async inTerminal(command: string, options: RunOptions = {}): Promise<Output> {
    return await run(["script", "-qec", command, "/dev/null"], { ...options, env: { ...this.#env(options), TERM: "xterm" } });
  }

  /** Berth's registry on the engine's loopback, port 5000. */
  async registry(...options: string[]): Promise<AsyncDisposable> {
    const child = Bun.spawn([...this.onHost, berth, "registry", "serve", "--root", join(this.root, "registry"), "--addr", "127.0.0.1:5000", ...options], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    for (let i = 0; i < 500; i++) {
      const { code, stderr } = await run([...this.onHost, "busybox", "wget", "-O", "/dev/null", "http://127.0.0.1:5000/v2/"]);
      if (code === 0 || stderr.includes(" 401 ")) break;
      await Bun.sleep(20);
    }
    return {
      [Symbol.asyncDispose]: async () => {
        child.kill("SIGTERM");
        await child.exited;
      },
    };
  }

  /** `busybox:latest` made of the static busybox and its applets. */
  async importBusybox(): Promise<void> {
    const tree = join(this.root, "busybox-tree");
    makeBusyboxTree(tree);
    const tar = await run(["tar", "-C", tree, "--owner=0", "--group=0", "-cf", join(this.root, "busybox.tar"), "."]);
    if (tar.code !== 0) throw new Error(tar.stderr);
    await this.ok("import", "-c", "CMD sh", "-c", "ENV PATH=/bin:/usr/local/bin", join(this.root, "busybox.tar"), "busybox:latest");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // An engine that a test stopped or killed comes back once more, to take away what it left running.
    if (this.#child === undefined && existsSync(this.data)) await this.start().catch((error: unknown) => console.error(error));
    if (this.#child !== undefined && this.#child.exitCode === null) {
      const { stdout } = await this.docker(["ps", "-aq"]);
      const ids = stdout.split("\n").filter((id) => id !== "");
      if (ids.length > 0) await this.docker(["rm", "-f", ...ids]);
      await this.stop();
    }
    this.#holder?.kill("SIGKILL");
    await this.#holder?.exited;
    if (process.env["BERTH_KEEP"] === undefined) rmSync(this.root, { recursive: true, force: true });
  }
}

/** The one engine of the `describe` this is called in: there, with busybox, from before its own hooks until after its last test. */
export function suiteEngine(...how: ConstructorParameters<typeof Engine>): Engine {
  const engine = new Engine(...how);
  beforeAll(async () => {
    await engine.start();
    await engine.importBusybox();
  });
  afterAll(async () => await engine[Symbol.asyncDispose]());
  return engine;
}

/** A root file system with the static busybox, links for its applets, and users root and worker (1000). */
export function makeBusyboxTree(tree: string): void {
  for (const folder of ["bin", "tmp", "etc", "root", "home/worker", "usr/local/bin", "var"]) mkdirSync(join(tree, folder), { recursive: true });
  cpSync("/bin/busybox", join(tree, "bin/busybox"), { dereference: true });
  const applets = Bun.spawnSync(["/bin/busybox", "--list"]).stdout.toString().split("\n");
  for (const applet of applets) if (applet !== "" && applet !== "busybox") symlinkSync("busybox", join(tree, "bin", applet));
  writeFileSync(join(tree, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/home/worker:/bin/sh\n");
  writeFileSync(join(tree, "etc/group"), "root:x:0:\nworker:x:1000:\nwheel:x:10:worker\n");
}

/** What a command that must succeed said. */
export async function said(...command: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command);
  if (code !== 0) throw new Error(`${command.join(" ")}: exit code ${code}\n${stdout}${stderr}`);
  return stdout.trim();
}

/** Waits until `probe` gives something truthy. @throws after 20 s with `what` in the text */
export async function until<T>(what: string, probe: () => Promise<T> | T): Promise<NonNullable<T>> {
  for (let i = 0; i < 400; i++) {
    const value = await probe();
    if (value !== false && value !== undefined && value !== null && value !== "") return value as NonNullable<T>;
    await Bun.sleep(50);
  }
  throw new Error(`waited in vain: ${what}`);
}
