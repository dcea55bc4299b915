import { describe, expect, test } from "bun:test";
import { endpoints } from "../../src/api/endpoints.ts";
import { skipped } from "../skips.ts";
import { lastingInconsistencies } from "./consistency.ts";
import { suiteEngine } from "./harness.ts";
import { randomOf } from "./lanes.ts";
import { RawClient } from "./raw-client.ts";

const seed = Number(process.env["BERTH_GARBAGE_SEED"] ?? Math.floor(Math.random() * 1e6));
const requests = Number(process.env["BERTH_GARBAGE_REQUESTS"] ?? 3000);

/** Clients that send nonsense to every endpoint. It is always their fault: 4xx, never a 500, and the engine doesn't mind. */
describe.skipIf(skipped("root", "overlay", "docker"))(`nonsense (seed ${seed})`, () => {
  const engine = suiteEngine();
  let id: string;
  const random = randomOf(seed);
  const upTo = (limit: number): number => Math.floor(random() * limit);
  const one = <T>(values: readonly T[]): T => values[upTo(values.length)]!;

  /** What there is to be asked about: nonsense, too, removes and renames. */
  async function present(): Promise<void> {
    await engine.docker(["rm", "-f", "there"]);
    id = await engine.ok("run", "-d", "--name", "there", "busybox", "sleep", "100000");
    await engine.docker(["network", "create", "net"]);
    await engine.docker(["volume", "create", "vol"]);
  }

  /** What the log says when something was not the client's fault. */
  const complaints = (): string[] =>
    engine
      .log()
      .split("\n")
      .filter((line) => /uncaught|unhandled|request handler failed|level=error/.test(line));

  const words = (): string =>
    one([
      "",
      "there",
      id,
      id.slice(0, 3),
      "net",
      "vol",
      "busybox",
      "..",
      ".",
      "%2e%2e%2f%2e%2e",
      "a".repeat(5000),
      "%00",
      "%ff%fe",
      "%",
      "-1",
      "{}",
      "null",
      "__proto__",
      "constructor",
      "bridge",
      "host",
      "none",
      "💥",
      "sha256:" + "0".repeat(64),
    ]);
  const names =
    "all limit size filters since until timestamps tail stdout stderr follow t signal condition name platform path noOverwriteDirNonDir copyUIDGID force v link h w ps_args stream one-shot fromSrc repo tag message changes quiet names dangling digests remote dockerfile buildargs labels networkmode cpusetcpus memory detachKeys logs stdin container pause author comment term isAutomated type scope id".split(
      " ",
    );

  function junk(depth = 0): unknown {
    const kind = upTo(depth > 3 ? 9 : 13);
    const scalars: unknown[] = [null, true, 0, -1, 1e308, 2 ** 53, "", words(), "\u0000"];
    if (kind < 9) return scalars[kind];
    if (kind < 11) return Array.from({ length: upTo(4) }, () => junk(depth + 1));
    return Object.fromEntries(Array.from({ length: upTo(5) }, () => [one(fields), junk(depth + 1)]));
  }
  const fields =
    "Image Cmd Entrypoint Env Labels HostConfig NetworkingConfig EndpointsConfig IPAMConfig IPAM Config Subnet Gateway Driver Options Name Volumes ExposedPorts PortBindings Binds Mounts Type Source Target Memory NanoCpus Ulimits Devices CapAdd RestartPolicy MaximumRetryCount LogConfig Healthcheck Test Interval Tty User WorkingDir Container EndpointConfig Aliases AttachStdout Privileged Tmpfs Sysctls ExtraHosts Dns NetworkMode PidMode IpcMode BlkioDeviceReadBps Path Rate ReadonlyPaths StopTimeout 80/tcp __proto__ toString".split(
      " ",
    );

  /** A body that has the right beginning: deeper code sees it. */
  function body(): unknown {
    const base: Record<string, unknown> = one([
      {},
      { Image: "busybox", Cmd: ["true"] },
      { Image: "busybox", HostConfig: {} },
      { Name: `n${upTo(50)}` },
      { Container: "there" },
      { Cmd: ["true"] },
    ]);
    for (let i = upTo(3); i >= 0; i--) base[one(fields)] = junk();
    if (random() < 0.5 && base["Image"] !== undefined) base["HostConfig"] = { NetworkMode: "none", [one(fields)]: junk(), [one(fields)]: junk() };
    return base;
  }

  // they ask a registry
  const skips = new Set(["/auth", "/images/search", "/distribution/{name*}/json", "/images/{name*}/push", "/session", "/grpc"]);

  test("in paths, queries and bodies", async () => {
    const table = endpoints.filter(({ path, method }) => !skips.has(path) && !(method === "DELETE" && random() < 0.5));
    const failures: string[] = [];
    const bad = async (): Promise<void> => {
      const { method, path } = one(table);
      const target = path.replace(/\{[^}]+\}/g, () => (random() < 0.5 ? one(["there", "net", "vol", "busybox"]) : words()));
      const query = Array.from({ length: upTo(4) }, () => `${one(names)}=${random() < 0.3 ? encodeURIComponent(JSON.stringify(junk())) : words()}`).join("&");
      const version = one(["", "/v1.24", "/v1.41", "/v1.47", "/v1.55"]);
      const content = random() < 0.1 ? one(["", "{", "[]", "null", "\xff", '{"a":'.repeat(20_000)]) : JSON.stringify(body());
      const head = `${method} ${version}${target}?${query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(content)}\r\n\r\n`;
      const client = new RawClient(engine.socket, Buffer.from(head + content, "utf8"));
      // streams and waits have no end
      await Promise.race([client.ended, Bun.sleep(300)]);
      const answer = client.received.toString("latin1");
      client.socket.destroy();
      if (/^HTTP\/1\.1 5(?!01|03)/.test(answer))
        failures.push(`${head.slice(0, 300)} ${content.slice(0, 600)}\n  => ${answer.slice(answer.indexOf("\r\n\r\n") + 4).slice(0, 300)}`);
    };
    for (let done = 0; done < requests; done += 200) {
      await present();
      let left = 200;
      const client = async (): Promise<void> => {
        while (left-- > 0) await bad();
      };
      await Promise.all(Array.from({ length: 8 }, client));
    }
    expect(failures).toEqual([]);
    expect(complaints()).toEqual([]);
    expect((await engine.api("GET", "/_ping")).status).toBe(200);
  }, 120_000);

  test("instead of HTTP", async () => {
    await present();
    const clients: RawClient[] = [];
    const sample = `POST /v1.41/containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\n{"Image":"busybox","Cmd":["x"]}\r\n0\r\n\r\n`;
    for (let i = 0; i < 400; i++) {
      const bytes = Buffer.from(sample);
      for (let n = upTo(8); n >= 0; n--) bytes[upTo(bytes.length)] = upTo(256);
      const half = one([
        bytes,
        bytes.subarray(0, upTo(bytes.length)),
        Buffer.from(crypto.getRandomValues(new Uint8Array(upTo(2000)))),
        Buffer.concat([bytes, bytes, bytes]),
      ]);
      clients.push(new RawClient(engine.socket, half));
    }
    await Bun.sleep(200);
    // all of them wait for the rest of their requests, and others are served
    expect(await engine.ok("exec", "there", "echo", "alive")).toBe("alive");
    for (const client of clients) client.socket.destroy();
    expect(complaints()).toEqual([]);
  });

  test("leaves nothing", async () => {
    await engine.removeAll();
    // nameless ones, which count as anonymous
    await engine.ok("volume", "prune", "-f");
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });
});
