import { existsSync, readlinkSync } from "node:fs";
import type { Bus } from "../lib/dbus.ts";
import { busPath } from "../lib/dbus-address.ts";
import type { Decoded, Encodable, Message } from "../lib/dbus-wire.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { within } from "../lib/within.ts";

/** Ours, once firewalld has loaded it: it learns of new zones by a reload only, and that would lose what others changed without --permanent. */
const OWN_ZONE = "berth";
/** Comes with firewalld and accepts everything, too. */
const SPARE_ZONE = "trusted";
/** Packets for bridges without translation (gateway mode `routed`): our own rules say which may come in. */
const POLICY = "berth-forwarding";

const SERVICE = "org.fedoraproject.FirewallD1";
const PATH = "/org/fedoraproject/FirewallD1";
const CONFIG = "/org/fedoraproject/FirewallD1/config";
/** One of the system's own, where the environment names none. */
const DEFAULT_BUS = "unix:path=/run/dbus/system_bus_socket";

/** It works in one thread, and a reload takes it seconds. */
const ANSWER_MS = 20_000;
/** Who makes a network waits so long for it at the most. */
const WAIT_MS = 5000;

export interface FirewalldState {
  /** Where new bridges go. */
  zone: string;
  /** Whether that is our own. */
  isLoaded: boolean;
  /** Bridges that the administrator has put elsewhere for good, with their zones. */
  elsewhere: ReadonlyMap<string, string>;
}

/**
 * firewalld rejects what comes in by links that are in no zone of its own. It is told of our bridges, as Docker does it: at start, when it starts later, when it has
 * reloaded, and when networks come and go. Its permanent configuration has the last word. No failure of it is one of ours.
 */
export interface Firewalld {
  /** undefined where none is on the bus, or it looks after another network namespace. */
  readonly state: FirewalldState | undefined;
  /** Looks for it if it isn't known yet, tries again what failed; a look at the file system where there is no bus. */
  look(): Promise<void>;
  /** Networks came or went. Resolves when firewalld knows, or after 5 s; undefined where there is nobody to wait for. */
  changed(): Promise<void> | undefined;
  /** Takes the bridges out of its zones, unless they stay, and leaves the bus. */
  close(options: { bridgesStay: boolean }): Promise<void>;
}

export interface FirewalldOptions {
  enabled: boolean;
  /** Of the message bus, as in DBUS_SYSTEM_BUS_ADDRESS. */
  address: string | undefined;
  /** Those that are to be in the zone. */
  bridges(): string[];
  /** Whether the host has a link of that name. */
  hasLink(name: string): boolean;
  log: Logger;
}

export function createFirewalld({ enabled, address = DEFAULT_BUS, bridges, hasLink, log }: FirewalldOptions): Firewalld {
  let bus: Bus | undefined;
  let opening: Promise<void> | undefined;
  /** Its name on the bus, while it is there and ours. */
  let owner: string | undefined;
  let zone = SPARE_ZONE;
  let closed = false;
  /** The zones that we put bridges into since firewalld last loaded its configuration. */
  const placed = new Map<string, string>();
  const elsewhere = new Map<string, string>();
  let announced = false;
  let running: Promise<void> | undefined;
  let again = false;
  /** It let us wait in vain, or failed. */
  let trouble = false;

  const call = async (path: string, part: string, member: string, signature: string, ...body: Encodable[]): Promise<Decoded[]> => {
    if (bus === undefined || owner === undefined) throw new Error("firewalld has left the message bus");
    return await bus.call({ destination: owner, path, interface: SERVICE + part, member, signature, body });
  };
  const strings = async (...wanted: Parameters<typeof call>): Promise<string[]> => {
    const [list] = await call(...wanted);
    return Array.isArray(list) ? list.filter((each) => typeof each === "string") : [];
  };

  /** Its permanent configuration gets our zone and policy, in force from its next reload on. Versions before 0.9 can't be told. */
  const announce = async (): Promise<void> => {
    if (announced) return;
    announced = true;
    const add = async (kind: "Zone" | "Policy", name: string, settings: Encodable): Promise<void> => {
      try {
        if ((await strings(CONFIG, ".config", `get${kind}Names`, "")).includes(name)) return;
        await call(CONFIG, ".config", kind === "Zone" ? "addZone2" : "addPolicy", "sa{sv}", name, settings);
        log.info("firewalld's permanent configuration has got what containers need, in force from its next reload on", { [kind.toLowerCase()]: name });
      } catch (error) {
        log.info("firewalld doesn't take a zone or policy of ours", { name, error: messageOf(error) });
      }
    };
    const text = (value: string): Encodable => ({ signature: "s", value });
    const list = (...value: string[]): Encodable => ({ signature: "as", value });
    await add("Zone", OWN_ZONE, [
      ["short", text("Berth")],
      ["description", text("Bridges of Berth's networks. What reaches containers is filtered by the engine's own rules.")],
      ["target", text("ACCEPT")],
    ]);
    await add("Policy", POLICY, [
      ["description", text("Lets the engine's own rules say what reaches containers under their own addresses.")],
      ["target", text("ACCEPT")],
      ["ingress_zones", list("ANY")],
      ["egress_zones", list(OWN_ZONE)],
    ]);
  };

  const place = async (bridge: string, present: ReadonlySet<string>): Promise<void> => {
    const [permanent] = await call(CONFIG, ".config", "getZoneOfInterface", "s", bridge);
    if (typeof permanent === "string" && permanent !== "") {
      elsewhere.set(bridge, permanent);
      return;
    }
    if (!present.has(bridge)) await call(PATH, ".zone", "changeZoneOfInterface", "ss", zone, bridge);
    placed.set(bridge, zone);
  };

  const take = async (bridge: string, from: string): Promise<void> => {
    placed.delete(bridge);
    await call(PATH, ".zone", "removeInterface", "ss", from, bridge);
  };

  /** One failure is nobody else's. */
  const attempt = async (bridge: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      if (!closed) log.warn("firewalld refused a change of its zones", { bridge, zone, error: messageOf(error) });
    }
  };

  /** Brings firewalld's zones into line with the networks there are. */
  const settle = async (): Promise<void> => {
    const zones = await strings(PATH, ".zone", "getZones", "");
    zone = zones.includes(OWN_ZONE) ? OWN_ZONE : SPARE_ZONE;
    await announce();
    const present = new Set(await strings(PATH, ".zone", "getInterfaces", "s", zone));
    const wanted = new Set(bridges());
    for (const bridge of elsewhere.keys()) if (!wanted.has(bridge)) elsewhere.delete(bridge);
    for (const bridge of wanted) if (!placed.has(bridge) && !elsewhere.has(bridge)) await attempt(bridge, () => place(bridge, present));
    // and those of networks that went while no engine looked
    const left = zone === OWN_ZONE ? [...present].filter((name) => /^br-[0-9a-f]{12}$/.test(name) && !wanted.has(name) && !hasLink(name)) : [];
    const leaving = new Map([...left.map((bridge) => [bridge, zone] as const), ...[...placed].filter(([bridge]) => !wanted.has(bridge))]);
    for (const [bridge, from] of leaving) await attempt(bridge, () => take(bridge, from));
  };

  /** One at a time, and once more where something changed meanwhile. */
  const sync = (): Promise<void> => {
    again = true;
    running ??= (async () => {
      try {
        for (; again && owner !== undefined && !closed; trouble = false) {
          again = false;
          await settle();
        }
      } catch (error) {
        if (!trouble && !closed)
          log.warn("firewalld can't be told of networks' bridges: what containers send outward may be rejected", { error: messageOf(error) });
        trouble = true;
      } finally {
        running = undefined;
      }
    })();
    return running;
  };

  const wait = async (work: Promise<void>): Promise<void> => {
    if (trouble || (await within(work, WAIT_MS))) return;
    trouble = true;
    log.warn("firewalld takes its time: nobody waits for it until it answers", { after: `${WAIT_MS / 1000} s` });
  };

  const leave = async (): Promise<void> => {
    await running;
    for (const [bridge, from] of placed) await attempt(bridge, () => take(bridge, from));
  };

  /** What it knew is gone: it has started, or loaded its configuration. */
  const forget = (): void => {
    placed.clear();
    elsewhere.clear();
    announced = false;
  };

  const meet = async (name: string): Promise<void> => {
    forget();
    owner = undefined;
    if (name === "" || !(await isOfOurHost(name))) return;
    owner = name;
    await sync();
    if (owner === name) log.info("firewalld is here: bridges of networks are in one of its zones", { zone });
  };

  /** Its links are ours: it may look after another namespace than the one we live in. */
  const isOfOurHost = async (name: string): Promise<boolean> => {
    const [pid] = (await bus?.ask("GetConnectionUnixProcessID", name)) ?? [];
    try {
      return readlinkSync(`/proc/${Number(pid)}/ns/net`) === readlinkSync("/proc/self/ns/net");
    } catch {
      return false; // gone, or of another process namespace
    }
  };

  const onSignal = ({ sender, member, body }: Message): void => {
    const met = (work: Promise<void>): void => void work.catch((error: unknown) => log.warn("firewalld can't be asked", { error: messageOf(error) }));
    if (sender === "org.freedesktop.DBus" && member === "NameOwnerChanged" && body[0] === SERVICE) met(meet(String(body[2])));
    if (sender === owner && owner !== undefined && member === "Reloaded") {
      forget();
      void sync();
    }
  };

  const open = async (path: string): Promise<void> => {
    try {
      const { connectBus } = await import("../lib/dbus.ts");
      const lost = (): void => {
        bus = owner = undefined;
      };
      const opened = await connectBus({ path, answerMs: ANSWER_MS, onSignal, onClose: lost });
      if (closed) return opened[Symbol.dispose]();
      bus = opened;
      await bus.match(`type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='${SERVICE}'`);
      await bus.match(`type='signal',sender='${SERVICE}',path='${PATH}',interface='${SERVICE}',member='Reloaded'`);
      const [name] = await bus.ask("GetNameOwner", SERVICE).catch(() => []); // an error where nobody has it
      if (typeof name === "string") await meet(name);
    } catch (error) {
      log.debug("the message bus can't be asked for firewalld", { path, error: messageOf(error) });
      bus?.[Symbol.dispose]();
      bus = undefined;
    }
  };

  return {
    get state() {
      return owner === undefined ? undefined : { zone, isLoaded: zone === OWN_ZONE, elsewhere };
    },
    async look() {
      const path = busPath(address);
      if (owner !== undefined && trouble) void sync();
      if (!enabled || closed || bus !== undefined || path === undefined || !existsSync(path)) return;
      opening ??= open(path).finally(() => {
        opening = undefined;
      });
      await wait(opening);
    },
    changed: () => (owner === undefined || closed ? undefined : wait(sync())),
    async close({ bridgesStay }) {
      if (!bridgesStay && owner !== undefined && !trouble) await within(leave(), WAIT_MS);
      closed = true;
      bus?.[Symbol.dispose]();
    },
  };
}
