/**
 * DNS as a container on a user-defined network sees it: answers to A questions for another container's name, asked by UDP at a steady rate from inside
 * the container's network namespace, and what they cost the engine in processor time.
 * Usage, after npm run build: node_modules/@oven/bun-linux-x64/bin/bun bench/dns.ts [QUESTIONS_A_SECOND] [SECONDS] [NAME=unix:///SOCKET of another engine]
 */
import { readFileSync } from "node:fs";
import { busyboxArchive } from "../test/busybox-image.ts";
import { call, runningEngine, startBerth, type Target } from "./engine.ts";

const image = "dns-bench";
const resolver = { hostname: "127.0.0.11", port: 53 };

/** `name` A IN, with the id in front. */
function question(id: number, name: string): Buffer {
  const head = Buffer.from("000001000001000000000000", "hex");
  head.writeUInt16BE(id, 0);
  return Buffer.concat([head, Buffer.of(name.length), Buffer.from(name), Buffer.of(0, 0, 1, 0, 1)]);
}

/** Inside: `rate` questions a second for `seconds`; prints latencies in ms, and how many had no answer. */
async function client(rate: number, seconds: number): Promise<void> {
  const asked = new Map<number, number>();
  const latencies: number[] = [];
  const socket = await Bun.udpSocket({
    connect: resolver,
    socket: {
      data(_socket, data) {
        const now = performance.now();
        const id = (data as Uint8Array)[0]! * 256 + (data as Uint8Array)[1]!;
        const at = asked.get(id);
        if (at === undefined || ((data as Uint8Array)[3]! & 15) !== 0 || (data as Uint8Array)[7] !== 1) return;
        asked.delete(id);
        latencies.push(now - at);
      },
    },
  });
  const begun = performance.now();
  for (let sent = 0; sent < rate * seconds;) {
    const due = Math.min(rate * seconds, Math.floor(((performance.now() - begun) / 1000) * rate));
    for (; sent < due; sent++) {
      const id = sent & 0xffff;
      asked.set(id, performance.now());
      socket.send(question(id, "target"));
    }
    // a turn of the loop: answers are read as they come
    await new Promise((resolve) => setImmediate(resolve));
  }
  await Bun.sleep(200);
  socket.close();
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? Number.NaN;
  console.log(JSON.stringify({ answers: latencies.length, lost: asked.size, p50: at(0.5), p99: at(0.99), p999: at(0.999), worst: at(1) }));
}

/** Milliseconds of processor time that processes have had. */
function cpuOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
    return sum + (Number(fields[11]) + Number(fields[12])) * 10;
  }, 0);
}

async function measure(target: Target, rate: number, seconds: number): Promise<void> {
  const { socket } = target;
  await call(socket, "POST", "/images/load", busyboxArchive(image));
  await call(socket, "POST", "/networks/create", { Name: "dns-bench" });
  const ids: string[] = [];
  try {
    for (const name of ["target", "asker"]) {
      const body = { Image: image, Cmd: ["sleep", "1000"], HostConfig: { NetworkMode: "dns-bench" } };
      const { json } = await call(socket, "POST", `/containers/create?name=${name}`, body);
      ids.push((json as { Id: string }).Id);
      await call(socket, "POST", `/containers/${name}/start`);
    }
    const { json } = await call(socket, "GET", "/containers/asker/json");
    const engine = target.processes().filter((pid) => !/sleep|conmon|containerd-shim/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8")));
    const before = cpuOf(engine);
    const inside = ["nsenter", `--net=/proc/${(json as { State: { Pid: number } }).State.Pid}/ns/net`];
    const child = Bun.spawn([...inside, process.execPath, import.meta.path, "client", String(rate), String(seconds)], { stdout: "pipe", stderr: "inherit" });
    const result = JSON.parse(await new Response(child.stdout).text()) as Record<"answers" | "lost" | "p50" | "p99" | "p999" | "worst", number>;
    const cpu = ((cpuOf(engine) - before) / result.answers) * 1000;
    const ms = (value: number): string => `${value.toFixed(2)} ms`;
    console.log(
      `${target.name}: ${result.answers} answers at ${rate}/s, ${result.lost} lost; p50 ${ms(result.p50)}, p99 ${ms(result.p99)}, p99.9 ${ms(result.p999)}, worst ${ms(result.worst)}; ${cpu.toFixed(0)} µs of the engine's processor time each`,
    );
  } finally {
    for (const id of ids) await call(socket, "DELETE", `/containers/${id}?force=1`);
    await call(socket, "DELETE", "/networks/dns-bench");
    await call(socket, "DELETE", `/images/${image}`);
  }
}

if (process.argv[2] === "client") await client(Number(process.argv[3]), Number(process.argv[4]));
else {
  const [rate = 2000, seconds = 5] = process.argv
    .slice(2)
    .filter((arg) => /^\d+$/.test(arg))
    .map(Number);
  {
    await using engine = await startBerth(null);
    await measure(engine, rate, seconds);
  }
  for (const other of process.argv.slice(2).filter((arg) => arg.includes("=unix://"))) {
    const [name = "", socket = ""] = other.split("=unix://");
    const target = await runningEngine(name, socket, null, /^(dockerd|podman|aardvark-dns)$/);
    if (target === undefined) console.error(`nothing answers at ${socket}`);
    else await measure(target, rate, seconds);
  }
}
