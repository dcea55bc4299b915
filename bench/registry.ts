/**
 * Berth's registry beside Docker's, on the same machine in the same minute: blobs out and in, manifests a second, and what that costs the server in
 * processor time. Both keep their data in a folder of $TMPDIR. Usage, after npm run build: node_modules/@oven/bun-linux-x64/bin/bun bench/registry.ts [MEGABYTES]
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { debianProgram, freePort, startDockerRegistry } from "../test/e2e/debian.ts";

interface Server extends AsyncDisposable {
  name: string;
  host: string;
  pid: number;
}

const berth = resolve(import.meta.dir, "../dist/berth");
const megabytes = Number(process.argv[2] ?? 256);
const rounds = 3;
const blob = new Uint8Array(megabytes << 20);
for (let at = 0; at < blob.length; at += 65536) crypto.getRandomValues(blob.subarray(at, at + 65536));
const manifestType = "application/vnd.oci.image.manifest.v1+json";
const digestOf = (bytes: Uint8Array | string): string => `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;

async function startBerth(): Promise<Server> {
  const root = mkdtempSync(join(tmpdir(), "berth-bench-registry-"));
  const host = `127.0.0.1:${await freePort()}`;
  const child = Bun.spawn([berth, "registry", "serve", "--root", root, "--addr", host, "--log-level", "error"], { stdio: ["ignore", "ignore", "inherit"] });
  for (let i = 0; i < 500 && !(await fetch(`http://${host}/v2/`).catch(() => undefined))?.ok; i++) await Bun.sleep(20);
  const stop = async (): Promise<void> => {
    child.kill();
    await child.exited;
    rmSync(root, { recursive: true, force: true });
  };
  return { name: "berth", host, pid: child.pid, [Symbol.asyncDispose]: stop };
}

/** Seconds of processor time that a process has had, in 1/100. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** GETs `path` over one connection, `times` times, as cheaply as can be: only lengths are looked at. */
async function getRaw(host: string, path: string, times: number): Promise<number> {
  const [hostname, port] = host.split(":") as [string, string];
  const request = `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nAccept: ${manifestType}\r\n\r\n`;
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let [left, head, total, done] = [0, "", 0, 0];
  await Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      open: (socket) => void socket.write(request),
      data: (socket, bytes) => {
        let rest = bytes;
        if (left === 0) {
          head += rest.toString("latin1");
          const end = head.indexOf("\r\n\r\n");
          if (end < 0) return;
          if (!head.startsWith("HTTP/1.1 200")) return reject(new Error(head.slice(0, 200)));
          left = Number(/content-length: (\d+)/i.exec(head)![1]);
          total += left;
          rest = rest.subarray(rest.length - (head.length - end - 4));
          head = "";
        }
        left -= rest.length;
        if (left > 0) return;
        if (++done < times) return void socket.write(request);
        resolve(total);
        socket.end();
      },
      close: () => reject(new Error("closed")),
    },
  });
  return await promise;
}

/** The digest is made before anything is timed. */
async function put(host: string, name: string, bytes: Uint8Array | string, digest = digestOf(bytes)): Promise<string> {
  const started = await fetch(`http://${host}/v2/${name}/blobs/uploads/`, { method: "POST" });
  const location = new URL(started.headers.get("location")!, `http://${host}`);
  location.searchParams.set("digest", digest);
  const answer = await fetch(location, { method: "PUT", body: bytes, headers: { "content-type": "application/octet-stream" } });
  if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`);
  return digest;
}

async function putImage(host: string, name: string): Promise<void> {
  const config = await put(host, name, "{}");
  const layers = [];
  for (let i = 0; i < 20; i++) {
    const digest = await put(host, name, `layer ${i}`);
    layers.push({ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest, size: `layer ${i}`.length });
  }
  const manifest = {
    schemaVersion: 2,
    mediaType: manifestType,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: config, size: 2 },
    layers,
  };
  const answer = await fetch(`http://${host}/v2/${name}/manifests/1`, {
    method: "PUT",
    body: JSON.stringify(manifest),
    headers: { "content-type": manifestType },
  });
  if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`);
}

/** Best of the rounds, and the processor time of that one. */
async function best<T>(
  server: Server,
  units: number,
  work: (prepared: T) => Promise<unknown>,
  prepare: () => T = () => undefined as T,
): Promise<{ rate: number; cpu: number }> {
  let found = { rate: 0, cpu: 0 };
  for (let i = 0; i < rounds; i++) {
    const prepared = prepare();
    const [before, start] = [cpuOf(server.pid), performance.now()];
    await work(prepared);
    const rate = units / ((performance.now() - start) / 1000);
    if (rate > found.rate) found = { rate, cpu: cpuOf(server.pid) - before };
  }
  return found;
}

async function measure(server: Server): Promise<Record<string, { rate: number; cpu: number }>> {
  const { host } = server;
  let salt = 0;
  await putImage(host, "bench/image");
  const digest = await put(host, "bench/blob", blob);
  const results: Record<string, { rate: number; cpu: number }> = {};
  const salted = (parts: number) => (): [bytes: Uint8Array, digest: string][] =>
    Array.from({ length: parts }, (_, i) => {
      const part = blob.subarray((i * blob.length) / parts, ((i + 1) * blob.length) / parts);
      part[0] = ++salt;
      return [part, digestOf(part)];
    });
  const putAll = (parts: [bytes: Uint8Array, digest: string][]) => Promise.all(parts.map(([bytes, digest]) => put(host, "bench/blob", bytes, digest)));
  results["blob PUT, MB/s"] = await best(server, megabytes, putAll, salted(1));
  results["blob PUT, 4 at once, MB/s"] = await best(server, megabytes, putAll, salted(4));
  results["blob GET, MB/s"] = await best(server, megabytes, () => getRaw(host, `/v2/bench/blob/blobs/${digest}`, 1));
  results["blob GET, 4 at once, MB/s"] = await best(server, 4 * megabytes, () =>
    Promise.all([0, 1, 2, 3].map(() => getRaw(host, `/v2/bench/blob/blobs/${digest}`, 1))),
  );
  results["manifest GET by tag, 1 client, /s"] = await best(server, 2000, () => getRaw(host, "/v2/bench/image/manifests/1", 2000));
  results["manifest GET by tag, 16 clients, /s"] = await best(server, 8000, () =>
    Promise.all(Array.from({ length: 16 }, () => getRaw(host, "/v2/bench/image/manifests/1", 500))),
  );
  return results;
}

const program = debianProgram("docker-registry", "usr/bin/docker-registry");
const servers: (() => Promise<Server>)[] = [startBerth];
if (program !== undefined) servers.push(async () => ({ name: "docker-registry", ...(await startDockerRegistry(program)) }));
const all: [string, Awaited<ReturnType<typeof measure>>][] = [];
for (const start of servers) {
  await using server = await start();
  all.push([server.name, await measure(server)]);
}
for (const row of Object.keys(all[0]![1])) {
  const cells = all.map(([name, results]) => `${name} ${results[row]!.rate.toFixed(0)} (${results[row]!.cpu.toFixed(2)} s)`);
  console.log(`${row.padEnd(38)} ${cells.join("   ")}`);
}
