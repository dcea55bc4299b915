import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connectBus } from "../../src/lib/dbus.ts";
import { triple, unpackedTree } from "../e2e/debian.ts";
import { eventually, run } from "./network-lab.ts";
import { layOverHost } from "./over-host.ts";

/** What Debian's firewalld is made of, but for Python and the C libraries of a bus. */
const packages = ["firewalld", "python3-firewall", "python3-nftables", "python3-dbus", "python3-gi", "gir1.2-glib-2.0", "libgirepository-1.0-1", "dbus-daemon"];
const python = "/usr/bin/python3";

/** Where those packages are unpacked; undefined where they can't be had, or don't run here. */
export function firewalldTrees(): string[] | undefined {
  if (!existsSync(python)) return undefined;
  const trees = packages.map((name) => unpackedTree(name));
  if (trees.includes(undefined)) return undefined;
  const under = (path: string): string => trees.map((tree) => join(tree!, path)).join(":");
  const libraries = `/usr/lib/${triple}`;
  const { exitCode } = Bun.spawnSync([python, "-c", "import dbus.mainloop.glib, nftables, firewall; from gi.repository import GLib"], {
    env: { PYTHONPATH: under("usr/lib/python3/dist-packages"), LD_LIBRARY_PATH: under(libraries), GI_TYPELIB_PATH: under(`${libraries}/girepository-1.0`) },
    stdout: "ignore",
    stderr: "ignore",
  });
  return exitCode === 0 ? (trees as string[]) : undefined;
}

/** A message bus of its own, on which Debian's firewalld can come and go, in the namespaces of this process. */
export interface FirewalldHost extends AsyncDisposable {
  /** Address of the bus. */
  bus: string;
  /** Returns when firewalld answers. */
  start(): Promise<void>;
  /** SIGTERM: it takes its rules along. */
  stop(): Promise<void>;
  signal(name: "SIGSTOP" | "SIGCONT" | "SIGKILL"): void;
  /** firewall-cmd; what it said. Each takes Python 0.2 s of a processor. */
  command(...args: string[]): Promise<string>;
  /** Those of a zone, sorted. */
  interfacesOf(zone: string): Promise<string[]>;
}

/** Everybody may do everything: who may isn't what is tested. */
const busConfig = (socket: string): string => `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=${socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>`;

export async function openFirewalldHost(): Promise<FirewalldHost> {
  const host = await layOverHost(firewalldTrees()!);
  const socket = join(host.work, "bus");
  const bus = `unix:path=${socket}`;
  const env = { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: bus };
  writeFileSync(join(host.work, "bus.conf"), busConfig(socket));
  const daemon = Bun.spawn(["/usr/bin/dbus-daemon", `--config-file=${host.work}/bus.conf`, "--nofork", "--nopidfile"], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  await eventually(() => existsSync(socket), "the bus listens");
  const client = await connectBus({ path: socket, answerMs: 60_000, onSignal() {}, onClose() {} });
  const ask = (part: string, member: string, ...body: string[]): Promise<unknown[]> =>
    client.call({
      ...{ destination: "org.fedoraproject.FirewallD1", path: "/org/fedoraproject/FirewallD1", interface: `org.fedoraproject.FirewallD1${part}` },
      ...{ member, signature: "s".repeat(body.length), body },
    });
  let firewalld: Bun.Subprocess | undefined;
  const command = (...args: string[]): Promise<string> => run("env", `DBUS_SYSTEM_BUS_ADDRESS=${bus}`, "/usr/bin/firewall-cmd", ...args);
  const stop = async (): Promise<void> => {
    firewalld?.kill("SIGTERM");
    await firewalld?.exited;
  };
  return {
    bus,
    command,
    async interfacesOf(zone) {
      const [names] = (await ask(".zone", "getInterfaces", zone)) as [string[]];
      return names.sort();
    },
    stop,
    async start() {
      firewalld = Bun.spawn([python, "/usr/sbin/firewalld", "--nofork", "--nopid"], { env, stdio: ["ignore", "ignore", "ignore"] });
      await eventually(async () => (await ask("", "getDefaultZone").catch(() => [])).length === 1, "firewalld runs");
    },
    signal: (name) => firewalld?.kill(name),
    [Symbol.asyncDispose]: async () => {
      client[Symbol.dispose]();
      firewalld?.kill("SIGKILL");
      await firewalld?.exited;
      daemon.kill("SIGKILL");
      await daemon.exited;
      await host[Symbol.asyncDispose]();
    },
  };
}
