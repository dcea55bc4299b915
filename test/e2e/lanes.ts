import { tarOf } from "../../src/lib/tar-writer.ts";
import type { Engine } from "./harness.ts";

/** Numbers from 0 to 1 that a seed decides (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** What a client has asked of a container and what it was answered: all it may know of it. */
export interface Known {
  name: string;
  /** From the answer to create, or from a later list where that answer never came. */
  id?: string;
  /** The code it ends with if nobody kills it; undefined: it runs until it is stopped. */
  code: number | undefined;
  /** Its whole output if it ends on its own. */
  output: string;
  autoRemove: boolean;
  restarts: boolean;
  asked: Set<Verb>;
  answered: Set<Verb>;
  /** Of the last of start, stop, kill, pause …, whichever was asked. */
  last?: { verb: Verb; answered: boolean };
  monitorKilled: boolean;
  /** As told after a start; it must stay as long as nobody ends it. */
  pid?: number;
  /** For the report of a failure. */
  history: string[];
}

export type Verb = "create" | "start" | "stop" | "kill" | "restart" | "pause" | "unpause" | "remove" | "rename";

const ends: readonly Verb[] = ["stop", "kill", "restart", "remove"];
/** Of a long container, to SIGTERM. */
export const stopCode = 7;

/** One client that does one thing after another with containers of its own, until the engine doesn't answer any more. */
export class Lane {
  readonly containers: Known[] = [];
  /** Image names to whether they must be there, must not, or (undefined) either. */
  readonly images = new Map<string, boolean | undefined>();
  /** What was wrong while the engine ran. */
  readonly problems: string[] = [];
  readonly #engine: Engine;
  readonly #random: () => number;
  readonly #number: number;
  #made = 0;
  #signal = new AbortController().signal;

  constructor(engine: Engine, number: number, seed: number) {
    this.#engine = engine;
    this.#number = number;
    this.#random = randomOf(seed * 1000 + number);
  }

  #chance(share: number): boolean {
    return this.#random() < share;
  }

  #upTo(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  /** Works until `signal`; never throws. */
  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    while (!signal.aborted) {
      try {
        await this.#step();
      } catch (error) {
        this.#problem(`lane ${this.#number}: ${String(error)}`);
      }
    }
  }

  /** An answer that the engine's death cut short may be anything. */
  #problem(text: string): void {
    if (!this.#signal.aborted) this.problems.push(text);
  }

  async #step(): Promise<void> {
    const here = this.containers.filter((each) => each.answered.has("create") && !each.asked.has("remove") && !each.autoRemove);
    const roll = this.#random();
    if (this.#number === 0 && roll < 0.3) return await this.#pull();
    if (this.#number === 1 && roll < 0.4) return await this.#build();
    if (here.length === 0 || (here.length < 6 && roll < 0.6)) return await this.#make();
    await this.#change(here[this.#upTo(here.length)]!);
  }

  /** Creates one, mostly starts it, and may wait for its end. */
  async #make(): Promise<void> {
    const name = `lane${this.#number}-${++this.#made}`;
    const isLong = this.#chance(0.4);
    const lines = this.#upTo(20);
    const code = isLong ? undefined : this.#upTo(100);
    const script = isLong
      ? `trap 'exit ${stopCode}' TERM; while :; do sleep 0.05; done`
      : `i=0; while [ $i -lt ${lines} ]; do echo line $i; i=$((i+1)); done; sleep 0.${this.#upTo(10)}; exit ${code}`;
    const known: Known = {
      name,
      code,
      output: Array.from({ length: lines }, (_, i) => `line ${i}\n`).join(""),
      autoRemove: this.#chance(0.2),
      restarts: false,
      asked: new Set(),
      answered: new Set(),
      monitorKilled: false,
      history: [],
    };
    known.restarts = !known.autoRemove && this.#chance(0.15);
    this.containers.push(known);
    const network = ["none", "bridge", "own", "host"][this.#upTo(4)]!;
    const answer = await this.#ask(known, "create", "POST", `/containers/create?name=${name}`, {
      Image: "busybox",
      Cmd: ["sh", "-c", script],
      ...(this.#chance(0.3) ? { Volumes: { "/data": {} } } : {}),
      ...(this.#chance(0.3) ? { ExposedPorts: { "80/tcp": {} } } : {}),
      HostConfig: {
        NetworkMode: network,
        AutoRemove: known.autoRemove,
        ...(known.restarts ? { RestartPolicy: { Name: isLong ? "always" : "on-failure", MaximumRetryCount: isLong ? 0 : 2 } } : {}),
        ...(this.#chance(0.2) ? { Binds: [`shared${this.#number}:/shared`] } : {}),
        ...(this.#chance(0.3) && network !== "host" ? { PortBindings: { "80/tcp": [{ HostPort: "" }] } } : {}),
        ...(this.#chance(0.2) ? { IpcMode: "private" } : {}),
      },
    });
    known.id = (JSON.parse(answer) as { Id: string }).Id;
    if (this.#chance(0.9)) await this.#start(known);
    if (!isLong && known.answered.has("start") && !known.restarts && this.#chance(0.5)) await this.#wait(known);
  }

  async #start(known: Known): Promise<void> {
    const { history, last } = known;
    await this.#ask(known, "start", "POST", `/containers/${known.id}/start`).catch((error: unknown) => {
      // a stop that the engine's death cut short may not have come to the container, which runs
      if (last?.answered === false && String(error).includes(": 304")) return;
      throw new Error(`${String(error)} [${history.join(" ")}]`);
    });
    if (known.code !== undefined || known.autoRemove) return;
    const { State } = JSON.parse(await this.#call("GET", `/containers/${known.id}/json`)) as { State: { Pid: number } };
    known.pid = State.Pid;
  }

  async #wait(known: Known): Promise<void> {
    const answer = await this.#call("POST", `/containers/${known.id}/wait?condition=${known.autoRemove ? "removed" : "not-running"}`).catch(
      (error: unknown) => {
        // it may be gone already
        if (known.autoRemove && String(error).includes("404")) return undefined;
        throw error;
      },
    );
    if (answer === undefined) return;
    const { StatusCode } = JSON.parse(answer) as { StatusCode: number };
    known.history.push(`waited: ${StatusCode}`);
    if (known.monitorKilled) return;
    if (StatusCode !== known.code) this.#problem(`${known.name}: wait said ${StatusCode} where ${known.code} was right`);
  }

  async #change(known: Known): Promise<void> {
    const path = `/containers/${known.id}`;
    const isUp = known.code === undefined && known.last?.answered === true && ["start", "restart", "unpause"].includes(known.last.verb);
    const roll = this.#random();
    if (isUp && roll < 0.3) return await this.#exec(known);
    if (isUp && roll < 0.4) {
      await this.#ask(known, "pause", "POST", `${path}/pause`);
      await this.#ask(known, "unpause", "POST", `${path}/unpause`);
    } else if (isUp && roll < 0.5) await this.#ask(known, "restart", "POST", `${path}/restart?t=5`);
    else if (isUp && roll < 0.6) await this.#ask(known, "kill", "POST", `${path}/kill`);
    else if (isUp && roll < 0.7) await this.#ask(known, "stop", "POST", `${path}/stop?t=5`);
    else if (isUp && roll < 0.72) await this.#call("POST", `${path}/update`, { Memory: (64 + this.#upTo(64)) << 20, MemorySwap: -1 });
    else if (roll < 0.75) await this.#archive(known);
    else if (roll < 0.8) await this.#ask(known, "rename", "POST", `${path}/rename?name=${known.name}-renamed-${++this.#made}`);
    else if (!isUp && roll < 0.85 && known.code === undefined && !known.restarts && ["kill", "stop"].includes(known.last?.verb ?? "")) await this.#start(known);
    else await this.#ask(known, "remove", "DELETE", `${path}?force=1&v=1`);
  }

  async #exec(known: Known): Promise<void> {
    const text = `exec ${++this.#made}`;
    const created = await this.#call("POST", `/containers/${known.id}/exec`, { Cmd: ["echo", text], AttachStdout: true, AttachStderr: true, Tty: true });
    const { Id } = JSON.parse(created) as { Id: string };
    const output = await this.#call("POST", `/exec/${Id}/start`, { Tty: true });
    if (output !== `${text}\r\n`) this.#problem(`${known.name}: an exec said ${JSON.stringify(output)}`);
    const { ExitCode } = JSON.parse(await this.#call("GET", `/exec/${Id}/json`)) as { ExitCode: number };
    if (ExitCode !== 0) this.#problem(`${known.name}: an exec ended with ${ExitCode}`);
  }

  async #archive(known: Known): Promise<void> {
    const archive = tarOf([{ name: "copied", type: "file", body: known.name.repeat(1000) }]);
    await this.#call("PUT", `/containers/${known.id}/archive?path=/tmp`, archive);
  }

  async #build(): Promise<void> {
    const tag = `built:${++this.#made}`;
    const dockerfile = `FROM busybox\nCOPY file /file\nRUN echo ${tag} > /made && sleep 0.0${this.#upTo(9)}\nVOLUME /data\nRUN rm /file\n`;
    const context = tarOf([
      { name: "Dockerfile", type: "file", body: dockerfile },
      { name: "file", type: "file", body: tag.repeat(5000) },
    ]);
    this.images.set(tag, undefined);
    const output = await this.#call("POST", `/build?t=${tag}`, context);
    if (!output.includes("Successfully tagged")) return this.#problem(`build of ${tag}: ${output.slice(-500)}`);
    this.images.set(tag, true);
    if (this.#chance(0.7)) await this.#removeImage(tag);
  }

  async #pull(): Promise<void> {
    const name = "127.0.0.1:5000/pulled:latest";
    if (this.images.get(name) !== false) await this.#removeImage(name);
    this.images.set(name, undefined);
    const output = await this.#call("POST", `/images/create?fromImage=${encodeURIComponent(name)}`);
    if (!output.includes("Downloaded newer image")) return this.#problem(`pull: ${output.slice(-500)}`);
    this.images.set(name, true);
  }

  async #removeImage(name: string): Promise<void> {
    this.images.set(name, undefined);
    await this.#call("DELETE", `/images/${name}?force=1`).catch((error: unknown) => {
      if (!String(error).includes("404")) throw error;
    });
    this.images.set(name, false);
  }

  /** A verb on a container: what was asked is noted before, what was answered after. */
  async #ask(known: Known, verb: Verb, method: string, path: string, body?: object): Promise<string> {
    known.asked.add(verb);
    known.history.push(verb);
    const last = { verb, answered: false };
    if (verb !== "create" && verb !== "rename") known.last = last;
    if (ends.includes(verb)) known.pid = undefined;
    const answer = await this.#call(method, path, body);
    known.answered.add(verb);
    last.answered = true;
    known.history.push("ok");
    return answer;
  }

  /** @throws Error with the status, for any answer that isn't a success, and where the engine dies meanwhile */
  async #call(method: string, path: string, body?: object | Uint8Array): Promise<string> {
    const isBytes = body instanceof Uint8Array;
    const response = await fetch(`http://engine/v1.47${path}`, {
      unix: this.#engine.socket,
      method,
      keepalive: false,
      signal: AbortSignal.timeout(60_000),
      ...(body === undefined ? {} : { body: isBytes ? (body as Uint8Array<ArrayBuffer>) : JSON.stringify(body) }),
      headers: { "content-type": isBytes ? "application/x-tar" : "application/json" },
    } as RequestInit);
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text;
  }
}
