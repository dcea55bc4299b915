import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openWorld } from "../world.ts";
import { Engine, run, said, until } from "./harness.ts";

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
    const folder = join(engine.root, "world");
    mkdirSync(folder);
    writeFileSync(join(folder, "index.html"), "world\n");
    this.#outside = await openWorld(`exec busybox httpd -f -p 7 -h ${folder}`, engine.onHost);
    // it listens
    await until("the world says so", async () => (await fetched(this.inOutside, "http://127.0.0.1:7/")) === "world");
  }

  /** A command in the network that all engines share; what it said. */
  async onHost(...command: string[]): Promise<string> {
    return await said(...this.engine.onHost, ...command);
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
