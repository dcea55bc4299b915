import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createEvents } from "../../src/events/events.ts";
import type { EngineEvent } from "../../src/events/types.ts";
import { removeMountedFile } from "../../src/kernel/mount.ts";
import { createLogger, silent } from "../../src/lib/log.ts";
import type { NetworkOptions } from "../../src/networks/context.ts";
import { startHands } from "../../src/daemon/hands.ts";
import { createNetworks } from "../../src/networks/networks.ts";
import { createPlugins } from "../../src/plugins/plugins.ts";
import type { ConnectOptions, Endpoint, Networks } from "../../src/networks/types.ts";
import { migrations } from "../../src/store/schema.ts";
import { openStore } from "../../src/store/store.ts";
import { openWorld } from "../world.ts";

const peer = new URL("./net-peer.ts", import.meta.url).pathname;

/** Runs a command to its end and gives what it printed. */
export async function run(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe", env: { ...process.env, BERTH_TEST_NAMESPACE: undefined } });
  const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${code} ${err}`);
  return out.trim();
}

/** A namespace with a shell's tools in it, at `path` or the test's own. */
const enter = (path: string | undefined): string[] => (path === undefined ? [] : ["nsenter", `--net=${path}`]);

export const ask = (path: string | undefined, protocol: "tcp" | "udp", host: string, port: number, ownPort = 0): Promise<string> =>
  run(...enter(path), process.execPath, peer, protocol, host, String(port), String(ownPort));

/** Starts net-peer.ts as some server and waits until it is ready. */
async function startPeer(path: string | undefined, ...args: string[]): Promise<Disposable> {
  const child = Bun.spawn([...enter(path), process.execPath, peer, ...args], { stdout: "pipe", stderr: "inherit" });
  const { value } = await child.stdout.getReader().read();
  if (
    !Buffer.from(value ?? [])
      .toString()
      .startsWith("ready")
  )
    throw new Error(`${args.join(" ")} did not start`);
  return { [Symbol.dispose]: () => child.kill(9) };
}

/** A server that says its name and who asked. */
export const serve = (path: string | undefined, name: string, tcpPort: number, udpPort: number, address = "0.0.0.0"): Promise<Disposable> =>
  startPeer(path, "serve", name, String(tcpPort), String(udpPort), address);

/** A DNS server: `*.test` is 203.0.113.7. */
export const serveNames = (path: string, address: string): Promise<Disposable> => startPeer(path, "nameserver", address);

/** Whether `address` answers a ping within so many seconds. */
export async function reaches(path: string, address: string, seconds = 2): Promise<boolean> {
  const ping = Bun.spawn([...enter(path), "busybox", "ping", "-c1", `-W${seconds}`, address], { stdout: "ignore", stderr: "ignore" });
  return (await ping.exited) === 0;
}

/** A look-up by the resolver of the namespace: `code N` and the answers' data in hex. */
export const lookUp = (path: string, protocol: "udp" | "tcp", name: string, type: "A" | "AAAA" | "PTR" | "MX" = "A"): Promise<string> =>
  run(...enter(path), process.execPath, peer, "dns", protocol, "127.0.0.11", name, String({ A: 1, PTR: 12, MX: 15, AAAA: 28 }[type]));

/** The engine's own defaults. */
export const networkDefaults: NetworkOptions = {
  ...{ bridge: "", bip: "", bip6: "", fixedCidr: "", fixedCidrV6: "", defaultGateway: "", defaultGatewayV6: "" },
  ...{ ip: "0.0.0.0", mtu: 1500, icc: true, ipMasq: true, ipv6: false, ipForward: true, iptables: true, ip6tables: true, userlandProxy: true },
  ...{ allowDirectRouting: false, bridgeAcceptFwmark: "", defaultNetworkOpts: {}, defaultAddressPools: [] },
  ...{ dns: [], dnsSearch: [], dnsOpts: [], engineKey: "abc123", engineId: "11111111-2222-3333-4444-555555555555" },
};

export interface Container {
  id: string;
  path: string;
  endpoint: Endpoint;
}

/** An engine's networks on a root of their own, with a second namespace that plays the outside world at 192.0.2.9 (the host is 192.0.2.1). */
export class Lab implements AsyncDisposable {
  readonly root = mkdtempSync(join(tmpdir(), "berth-network-"));
  readonly events: EngineEvent[] = [];
  /** What the networks have warned of. */
  readonly warnings: string[] = [];
  readonly outside: string;
  readonly store = openStore(join(this.root, "engine.db"), migrations);
  readonly #bus = createEvents({ store: this.store, log: silent });
  readonly #world: Bun.Subprocess;
  readonly #hands = startHands();
  readonly #options: Partial<NetworkOptions>;
  readonly #systemBus: string | undefined;
  /** Where plugins listen. */
  pluginFolder = join(this.root, "plugins");
  networks: Networks;
  readonly #made = new Set<string>();
  #count = 0;

  private constructor(world: Bun.Subprocess, options: Partial<NetworkOptions>, systemBus: string | undefined) {
    this.#world = world;
    this.#systemBus = systemBus;
    this.outside = `/proc/${world.pid}/ns/net`;
    this.#options = options;
    this.#bus.subscribe((event) => this.events.push(event));
    this.networks = this.start();
  }

  /** `systemBus`: address of a message bus. */
  static async open(options: Partial<NetworkOptions> = {}, systemBus?: string): Promise<Lab> {
    const lab = new Lab(await openWorld("exec sleep 600"), options, systemBus);
    await lab.networks.restore(new Set());
    return lab;
  }

  /** A new service on the same records, as after a restart of the engine. */
  start(changes: Partial<NetworkOptions> = {}): Networks {
    return createNetworks({
      store: this.store,
      events: this.#bus,
      log: createLogger({ level: () => "warn", write: (line) => void this.warnings.push(line) }),
      paths: { dataRoot: this.root, namespaces: join(this.root, "netns") },
      plugins: createPlugins({ folders: { sockets: this.pluginFolder, specs: [] }, log: silent, times: { callMs: 5000, retryMs: 2000 } }),
      systemBus: this.#systemBus,
      links: this.#hands.links,
      options: { ...networkDefaults, ...this.#options, ...changes },
      removeMountedFile: async (path) => removeMountedFile(path),
    });
  }

  /** An id of 64 digits, new each time. */
  newId(): string {
    return (++this.#count).toString(16).padStart(64, "c");
  }

  async container(options: Partial<ConnectOptions> = {}): Promise<Container> {
    const id = options.containerId ?? this.newId();
    this.#made.add(id);
    const path = await this.networks.createNamespace(id);
    const endpoint = await this.networks.allocate({
      containerId: id,
      containerName: `name-${this.#count}`,
      hostname: id.slice(0, 12),
      network: "bridge",
      settings: {},
      portBindings: {},
      ...options,
    });
    await this.networks.attach(endpoint, path);
    return { id, path, endpoint };
  }

  /** The engine ends, with the containers that aren't to live on, and comes back. */
  async restart(running: readonly string[] = [], changes: Partial<NetworkOptions> = {}): Promise<void> {
    await this.networks.close({ containersLive: running.length > 0 });
    await this.resume(running, changes);
  }

  /** It comes back. */
  async resume(running: readonly string[] = [], changes: Partial<NetworkOptions> = {}): Promise<void> {
    this.networks = this.start(changes);
    await this.networks.restore(new Set(running));
  }

  /** At once, but for containers with hundreds of ports: await those. */
  async remove(...ids: string[]): Promise<void> {
    const all = ids.map((id) => {
      this.#made.delete(id);
      const released = this.networks.release(id);
      return released instanceof Promise ? released.then(() => this.networks.removeNamespace(id)) : this.networks.removeNamespace(id);
    });
    await Promise.all(all);
  }

  /** All containers, so that a failed test doesn't spoil the next. */
  removeAll(): void {
    void this.remove(...this.#made);
  }

  /** All networks but those that are always there. */
  async removeNetworks(): Promise<void> {
    for (const { name, id } of this.networks.list()) if (!["bridge", "host", "none"].includes(name)) await this.networks.remove(id);
  }

  /** Threads of this process that live in another namespace than its main one: none may, or the engine's own traffic would leave from there. */
  strayThreads(): string[] {
    const home = readlinkSync("/proc/self/ns/net");
    return readdirSync("/proc/self/task").filter((id) => readlinkSync(`/proc/self/task/${id}/ns/net`) !== home);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.networks.close({ containersLive: false });
    this.#hands[Symbol.dispose]();
    await run("ip", "link", "delete", "world");
    this.#world.kill(9);
    this.store[Symbol.dispose]();
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Polls until `ready` says so; the kernel takes namespaces down in the background. */
export async function eventually(ready: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (await ready()) return;
    await Bun.sleep(25);
  }
  throw new Error(`not after 5 s: ${what}`);
}
