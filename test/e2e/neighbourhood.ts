import { Engine, run } from "./harness.ts";

/** An engine, other engines on the same network as several on one host have it, and a world outside at 192.0.2.9 (the host is 192.0.2.1) whose port 7 says `world`. */
export class Neighbourhood implements AsyncDisposable {
  readonly engine: Engine;
  #outside: Bun.Subprocess | undefined;

  /** `flags`: the engine's. */
  constructor(flags: string[] = []) {
    this.engine = new Engine(flags);
  }

  async open(): Promise<void> {
    const { engine } = this;
    await engine.start();
    await engine.importBusybox();
    const web = `mkdir -p ${engine.root}/world; echo world >${engine.root}/world/index.html; exec busybox httpd -f -p 7 -h ${engine.root}/world`;
    this.#outside = Bun.spawn(["unshare", "--net", "sh", "-c", web], { stdio: ["ignore", "ignore", "inherit"] });
    await Bun.sleep(100);
    const link = `ip link add world type veth peer name eth0 netns ${this.#outside.pid}; ip addr add 192.0.2.1/24 dev world; ip link set world up`;
    await this.onHost("sh", "-ec", link);
    await run([...this.inOutside, "sh", "-c", "ip link set lo up; ip addr add 192.0.2.9/24 dev eth0; ip link set eth0 up"]);
  }

  /** A command in the network that all engines share; what it said. */
  async onHost(...command: string[]): Promise<string> {
    const { code, stdout, stderr } = await run([...this.engine.onHost, ...command]);
    if (code !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
    return stdout.trim();
  }

  /** Prefix of commands in the world. */
  get inOutside(): string[] {
    return ["nsenter", `--target=${this.#outside?.pid}`, "--net"];
  }

  /** All rules but our own, as the kernel lists them; packets counted don't count. */
  async theirs(): Promise<string> {
    return (await this.onHost("nft", "-s", "list", "ruleset")).replace(/^table (inet|ip6?) berth_\w+ \{\n.*?^\}\n?/gms, "").trim();
  }

  /** Our own. */
  async ours(): Promise<string> {
    return await this.onHost("nft", "-s", "list", "table", "inet", `berth_${this.engine.key}`);
  }

  /** What an engine's container, entered by `enter`, gets of the world, and the world of what is published on `port`. */
  async ways(port: number, enter: string[]): Promise<string[]> {
    return await Promise.all([fetched(this.inOutside, `http://192.0.2.1:${port}/`), fetched(enter, "http://192.0.2.9:7/")]);
  }

  /** The same for our own. */
  async ourWays(port: number, name: string): Promise<string[]> {
    return await this.ways(port, [this.engine.dockerProgram, "-H", `unix://${this.engine.socket}`, "exec", name]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#outside?.kill("SIGKILL");
    await this.#outside?.exited;
    await this.engine[Symbol.asyncDispose]();
  }
}

/** The one rule of ours in others' chains. */
export const withoutAccept = (rules: string): string => rules.replace(/\n\t\tmeta mark & 0x00e00000 == 0x00e00000 counter accept/, "");

/** What serves a page that says `name`, with busybox. */
export const serving = (name: string): string[] => ["sh", "-c", `mkdir -p /w; echo ${name} >/w/index.html; exec httpd -f -p 80 -h /w`];

const fetched = async (where: string[], url: string): Promise<string> => (await run([...where, "timeout", "3", "busybox", "wget", "-qO-", url])).stdout.trim();
