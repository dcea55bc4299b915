/**
 * A legacy plugin: its own process, which speaks Docker's protocol over a unix socket. It stands in for volumes (directories below its root), for networks
 * (veth pairs made with ip(8)) and for addresses. Each call is a line of its log. Files below `<root>/faults` make it misbehave: `<Method>` holds what it
 * answers as JSON `{"status", "body"}`, or `hang`, `flood`, `drop`.
 *
 * plugin.ts SOCKET ROOT
 */
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { networkCalls } from "./network-calls.ts";
import { ipamCalls } from "./ipam-calls.ts";

export type Call = (request: Record<string, unknown>) => unknown;

const [socket = "", root = ""] = process.argv.slice(2);
mkdirSync(join(root, "volumes"), { recursive: true });
mkdirSync(join(root, "faults"), { recursive: true });

const mounts = new Map<string, Set<string>>();
const pathOf = (name: unknown): string => join(root, "volumes", String(name));
const volume = (name: string): object => ({
  Name: name,
  CreatedAt: "2020-01-02T03:04:05Z",
  Status: { mounts: mounts.get(name)?.size ?? 0 },
  ...((mounts.get(name)?.size ?? 0) > 0 ? { Mountpoint: pathOf(name) } : {}),
});

const volumeCalls: Record<string, Call> = {
  "VolumeDriver.Create": ({ Name, Opts }) => {
    if ((Opts as Record<string, string> | null)?.["fail"] !== undefined) throw new Error("no room for it");
    mkdirSync(pathOf(Name), { recursive: true });
    return {};
  },
  "VolumeDriver.Remove": ({ Name }) => {
    if ((mounts.get(String(Name))?.size ?? 0) > 0) throw new Error("volume is mounted");
    rmSync(pathOf(Name), { recursive: true });
    return {};
  },
  "VolumeDriver.Mount": ({ Name, ID }) => {
    if (!existsSync(pathOf(Name))) throw new Error("no such volume");
    mounts.set(String(Name), (mounts.get(String(Name)) ?? new Set()).add(String(ID)));
    return { Mountpoint: pathOf(Name) };
  },
  "VolumeDriver.Unmount": ({ Name, ID }) => {
    mounts.get(String(Name))?.delete(String(ID));
    return {};
  },
  "VolumeDriver.Path": ({ Name }) => ({ Mountpoint: pathOf(Name) }),
  "VolumeDriver.List": () => ({ Volumes: readdirSync(join(root, "volumes")).map(volume) }),
  "VolumeDriver.Get": ({ Name }) => {
    if (!existsSync(pathOf(Name))) throw new Error("no such volume");
    return { Volume: volume(String(Name)) };
  },
  "VolumeDriver.Capabilities": () => ({ Capabilities: { Scope: "global" } }),
};

const calls: Record<string, Call> = {
  "Plugin.Activate": () => ({ Implements: ["VolumeDriver", "NetworkDriver", "IpamDriver"] }),
  ...volumeCalls,
  ...networkCalls,
  ...ipamCalls,
};

async function misbehave(method: string): Promise<Response | undefined> {
  const file = join(root, "faults", method);
  if (!existsSync(file)) return undefined;
  const fault = readFileSync(file, "utf8");
  if (fault === "hang") return await new Promise<never>(() => {});
  if (fault === "flood") return new Response(new ReadableStream({ pull: (out) => out.enqueue(Buffer.alloc(64 << 10, 0x20)) }));
  if (fault === "drop") process.exit(1);
  const { status, body } = JSON.parse(fault) as { status: number; body: string };
  return new Response(body, { status });
}

Bun.serve({
  unix: socket,
  async fetch(request) {
    const method = new URL(request.url).pathname.slice(1);
    const text = await request.text();
    appendFileSync(join(root, "log"), `${method} ${text}\n`);
    const fault = await misbehave(method);
    if (fault !== undefined) return fault;
    const call = calls[method];
    if (call === undefined) return new Response("404 page not found\n", { status: 404 });
    try {
      return Response.json(call(text === "" ? {} : (JSON.parse(text) as Record<string, unknown>)));
    } catch (error) {
      return Response.json({ Err: (error as Error).message });
    }
  },
});
console.log("ready");
