import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { kindOf, messageOf } from "../../src/lib/errors.ts";
import { digestOf, isDigest, type Digest } from "../../src/oci/digest.ts";
import { mediaTypes, type Descriptor } from "../../src/oci/image.ts";
import { tarOf } from "../../src/lib/tar-writer.ts";
import { skipped } from "../skips.ts";
import { debianProgram, startDockerRegistry } from "./debian.ts";
import { createLab, startBerthRegistry, type Entry, type Lab } from "./images-lab.ts";

const text = (name: string, body: string): Entry => ({ name, type: "file", body, mode: 0o644 });
const noise = new Uint8Array(600_000);
crypto.getRandomValues(noise.subarray(0, 65536));

const failure = async (work: Promise<unknown>): Promise<{ kind: string; text: string }> =>
  await work.then(
    () => ({ kind: "none", text: "" }),
    (error: unknown) => ({ kind: kindOf(error), text: messageOf(error) }),
  );

const dockerRegistry = skipped("root") ? undefined : debianProgram("docker-registry", "usr/bin/docker-registry");
const kinds: [name: string, start: (() => Promise<{ host: string } & AsyncDisposable>) | undefined][] = [
  ["Berth's registry", startBerthRegistry],
  ["Debian's docker-registry", dockerRegistry === undefined ? undefined : () => startDockerRegistry(dockerRegistry)],
];

for (const [name, start] of kinds) {
  describe.skipIf(start === undefined || skipped("root"))(name, () => {
    let registry: { host: string } & AsyncDisposable;
    let lab: Lab;
    beforeAll(async () => {
      registry = await start!();
    });
    afterAll(async () => {
      await registry[Symbol.asyncDispose]();
    });
    beforeEach(() => {
      lab = createLab();
    });
    afterEach(() => {
      lab[Symbol.dispose]();
    });

    test("pushed, removed, pulled: the same image, with Docker's messages", async () => {
      const reference = `${registry.host}/team/app:1`;
      const base = await lab.image("base:1", [text("hello", "world"), { name: "noise", type: "file", body: noise }]);
      const made = await lab.onTop(base, reference, { second: "layer" });
      await lab.push(reference);
      const pushed = lab.messages.map(({ status }) => status);
      expect(pushed[0]).toBe(`The push refers to repository [${registry.host}/team/app]`);
      expect(pushed.filter((status) => status === "Preparing").length).toBeGreaterThanOrEqual(2);
      expect(pushed.filter((status) => status === "Pushed")).toHaveLength(2);
      const aux = lab.messages.at(-1)!.aux as { Tag: string; Digest: Digest; Size: number };
      expect(lab.messages.at(-2)!.status).toBe(`1: digest: ${aux.Digest} size: ${aux.Size}`);
      expect(lab.images.resolve(reference).repoDigests).toEqual([`${registry.host}/team/app@${aux.Digest}`]);

      await lab.push(reference);
      expect(lab.messages.filter(({ status }) => status === "Layer already exists")).toHaveLength(2);
      expect((lab.messages.at(-1)!.aux as { Digest: Digest }).Digest).toBe(aux.Digest);

      await lab.empty();
      expect(lab.rest()).toEqual({ blobs: 0, snapshots: 0, ingests: 0 });

      const pulled = await lab.pull(reference);
      expect(pulled.id).toBe(made.id);
      expect(pulled.repoTags).toEqual([reference]);
      expect(pulled.repoDigests).toEqual([`${registry.host}/team/app@${aux.Digest}`]);
      expect(readFileSync(join(lab.snapshots.path(pulled.layers[0]!), "hello"), "utf8")).toBe("world");
      expect(existsSync(join(lab.snapshots.path(pulled.layers[1]!), "second"))).toBe(true);
      expect(lab.messages[0]).toEqual({ status: "Pulling from team/app", id: "1" });
      const [first, second] = lab.messages.filter(({ status }) => status === "Pulling fs layer");
      expect(first).toEqual({ status: "Pulling fs layer", progressDetail: {}, id: expect.stringMatching(/^[0-9a-f]{12}$/) as never });
      const story = lab.messages.filter(({ id }) => id === second!.id).map(({ status }) => status);
      expect([...new Set(story)]).toEqual(["Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete", "Extracting", "Pull complete"]);
      const extracting = lab.messages.findLast(({ status, id }) => status === "Extracting" && id === first!.id)!;
      expect(extracting.progressDetail!.current).toBe(extracting.progressDetail!.total!);
      expect(extracting.progress).toMatch(/^\[=+>\] +[\d.]+k?B\/[\d.]+k?B$/);
      expect(lab.messages.slice(-2)).toEqual([{ status: `Digest: ${aux.Digest}` }, { status: `Status: Downloaded newer image for ${reference}` }]);

      await lab.pull(reference);
      expect(lab.messages).toEqual([
        { status: "Pulling from team/app", id: "1" },
        { status: `Digest: ${aux.Digest}` },
        { status: `Status: Image is up to date for ${reference}` },
      ]);
      const events = lab.events.history({}).filter(({ action }) => action === "pull" || action === "push");
      expect(events.map(({ type, action, actor, attributes }) => [type, action, actor, attributes.name])).toEqual([
        ...[0, 1].map(() => ["image", "push", reference, `${registry.host}/team/app`]),
        ...[0, 1].map(() => ["image", "pull", reference, `${registry.host}/team/app`]),
      ]);

      // As it came, byte for byte.
      await lab.push(reference);
      expect((lab.messages.at(-1)!.aux as { Digest: Digest }).Digest).toBe(aux.Digest);
    });

    test("by digest, all tags, layers shared, blobs mounted", async () => {
      const repository = `${registry.host}/shared/base`;
      const base = await lab.image(`${repository}:1`, [text("base", "base")]);
      const top = await lab.onTop(base, `${repository}:2`, { top: "top" });
      await lab.push(repository);
      expect(lab.messages.filter(({ aux }) => aux !== undefined).map(({ aux }) => (aux as { Tag: string }).Tag)).toEqual(["1", "2"]);

      lab.images.tag(`${repository}:2`, `${registry.host}/shared/other:1`);
      await lab.push(`${registry.host}/shared/other:1`);
      expect(lab.messages.filter(({ status }) => status === "Mounted from shared/base")).toHaveLength(2);
      const { Digest: digest } = lab.messages.at(-1)!.aux as { Digest: Digest };

      await lab.empty();
      const byDigest = await lab.pull(`${repository}@${digest}`);
      expect(byDigest.id).toBe(top.id);
      expect([byDigest.repoTags, byDigest.repoDigests]).toEqual([[], [`${repository}@${digest}`]]);
      expect(lab.messages[0]).toEqual({ status: "Pulling from shared/base", id: `${repository}@${digest}` });
      expect(lab.messages.at(-1)).toEqual({ status: `Status: Downloaded newer image for ${repository}@${digest}` });

      await lab.pull(repository, { allTags: true });
      expect((await lab.images.list()).flatMap(({ repoTags }) => repoTags).sort()).toEqual([`${repository}:1`, `${repository}:2`]);
      expect(lab.messages.filter(({ status }) => status === "Already exists")).toHaveLength(1);
      expect(lab.messages.at(-1)).toEqual({ status: `Status: Downloaded newer image for ${repository}` });
    });

    test("two pulls at once fetch a layer once and both end well", async () => {
      const reference = `${registry.host}/twice:latest`;
      const made = await lab.image(reference, [{ name: "noise", type: "file", body: noise }]);
      await lab.push(reference);
      await lab.empty();
      const both = await Promise.all([lab.pull(reference), lab.pull(reference)]);
      expect(both.map(({ id }) => id)).toEqual([made.id, made.id]);
      expect(lab.rest().snapshots).toBe(1);
    });

    test("a push whose connection breaks comes to its end", async () => {
      const [host, port] = registry.host.split(":");
      const counts: number[] = [];
      const server = createServer((client) => {
        const upstream = connect(Number(port), host);
        const at = counts.push(0) - 1;
        for (const socket of [client, upstream]) socket.on("error", () => {});
        // not destroyed: that would drop what is still on its way to the registry, which the last line counts on
        client.on("close", () => upstream.end());
        upstream.on("data", (chunk) => void client.write(chunk));
        upstream.on("close", () => client.destroy());
        client.on("data", (chunk) => {
          upstream.write(chunk);
          counts[at]! += chunk.length;
          if (counts[at]! < 1_000_000 || counts.filter((count) => count >= 1_000_000).length > 2) return;
          // What was written is on its way yet.
          upstream.end();
          client.destroy();
        });
      }).listen(0, "127.0.0.1");
      await once(server, "listening");
      try {
        const reference = `127.0.0.1:${(server.address() as AddressInfo).port}/broken/off:1`;
        const bytes = Buffer.concat(Array.from({ length: 64 }, () => crypto.getRandomValues(new Uint8Array(65536))));
        const { id } = await lab.image(reference, [{ name: "noise", type: "file", body: bytes }]);
        await lab.push(reference);
        expect(lab.messages.some(({ status }) => status?.startsWith("Retrying in") === true)).toBe(true);
        await lab.empty();
        expect((await lab.pull(`${registry.host}/broken/off:1`)).id).toBe(id);
        // Berth's registry keeps what came; Docker's forgets an upload that broke off.
        if (name === "Berth's registry") expect(counts.reduce((sum, count) => sum + count)).toBeLessThan(1.5 * bytes.length);
      } finally {
        server.close();
      }
    });

    // Debian's answers 500 to such a manifest.
    if (name === "Berth's registry")
      test("a layer that may not be given on is left where it is", async () => {
        const image = await lab.image("foreign:1", [text("f", "body")]);
        const layer = gzipSync(tarOf([text("f", "body")]));
        const foreign = { mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", digest: digestOf(layer), size: layer.length };
        const config = JSON.stringify(image.config);
        const manifest = JSON.stringify({
          schemaVersion: 2,
          mediaType: mediaTypes.ociManifest,
          config: { mediaType: mediaTypes.ociConfig, digest: digestOf(config), size: Buffer.byteLength(config) },
          layers: [{ ...foreign, urls: ["https://example.org/layer"] }],
        });
        const reference = `${registry.host}/foreign:1`;
        const named = {
          mediaType: mediaTypes.ociManifest,
          digest: digestOf(manifest),
          size: manifest.length,
          annotations: { "io.containerd.image.name": reference },
        };
        const blob = (body: string | Buffer): Entry => ({ name: `blobs/${digestOf(body).replace(":", "/")}`, type: "file", body });
        const archive = tarOf([blob(layer), blob(config), blob(manifest), text("index.json", JSON.stringify({ schemaVersion: 2, manifests: [named] }))]);
        await lab.images.load(new Blob([Uint8Array.from(archive)]).stream(), { onProgress: () => {} });
        await lab.push(reference);
        expect(lab.messages.map(({ status }) => status)).toContain("Skipped foreign layer");
        expect((lab.messages.at(-1)!.aux as { Digest: Digest }).Digest).toBe(digestOf(manifest));
        expect((await fetch(`http://${registry.host}/v2/foreign/blobs/${foreign.digest}`, { method: "HEAD" })).status).toBe(404);
      });

    test("what isn't there", async () => {
      const { kind, text: told } = await failure(lab.pull(`${registry.host}/nothing:here`));
      expect(kind).toBe("notFound");
      expect(told).toMatch(/^manifest for .*\/nothing:here not found: manifest unknown: manifest unknown$/);
      expect(await failure(lab.push(`${registry.host}/nothing:here`))).toEqual({
        kind: "notFound",
        text: `An image does not exist locally with the tag: ${registry.host}/nothing`,
      });
      expect(lab.messages).toEqual([{ status: `The push refers to repository [${registry.host}/nothing]` }]);
      expect(lab.rest()).toEqual({ blobs: 0, snapshots: 0, ingests: 0 });
    });
  });
}

describe.skipIf(skipped("root", "skopeo"))("skopeo", () => {
  test("copies to and from Berth's registry, to and from Docker's formats", async () => {
    await using registry = await startBerthRegistry();
    using lab = createLab();
    const folder = mkdtempSync(join(tmpdir(), "berth-skopeo-"));
    const skopeo = async (...args: string[]): Promise<string> => {
      const child = Bun.spawn(["skopeo", "--insecure-policy", ...args], { stdout: "pipe", stderr: "pipe" });
      const [out, problems, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
      if (code !== 0) throw new Error(`skopeo ${args.join(" ")}: ${problems}`);
      return out;
    };
    try {
      const base = await lab.image("base:1", [text("hello", "world"), { name: "noise", type: "file", body: noise }]);
      const made = await lab.onTop(base, `${registry.host}/a:1`, { more: "" });
      await lab.push(`${registry.host}/a:1`);
      await skopeo("copy", "--src-tls-verify=false", `docker://${registry.host}/a:1`, `oci:${folder}/layout:1`);
      await skopeo("copy", "--dest-tls-verify=false", "--format", "oci", `oci:${folder}/layout:1`, `docker://${registry.host}/b:oci`);
      await skopeo("copy", "--dest-tls-verify=false", "--format", "v2s2", `oci:${folder}/layout:1`, `docker://${registry.host}/b:docker`);
      expect(JSON.parse(await skopeo("list-tags", "--tls-verify=false", `docker://${registry.host}/b`)) as { Tags: string[] }).toMatchObject({
        Tags: ["docker", "oci"],
      });
      await lab.empty();
      for (const tag of ["oci", "docker"]) {
        const pulled = await lab.pull(`${registry.host}/b:${tag}`);
        expect(pulled.config.rootfs.diff_ids).toEqual(made.config.rootfs.diff_ids);
        expect(readFileSync(join(lab.snapshots.path(pulled.layers[0]!), "hello"), "utf8")).toBe("world");
      }
      await skopeo("delete", "--tls-verify=false", `docker://${registry.host}/b:oci`);
      expect((await failure(lab.pull(`${registry.host}/b:oci`))).kind).toBe("notFound");
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

interface Served {
  manifests: Map<string, { type: string; body: string }>;
  blobs: Map<string, Uint8Array | ((request: Request) => Response | Promise<Response>)>;
  gets: string[];
}

/** A registry that serves exactly what it is given, truth or not. */
function serve(): Served & { host: string } & Disposable {
  const served: Served = { manifests: new Map(), blobs: new Map(), gets: [] };
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    fetch: (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/v2/") return new Response("{}");
      const [, kind, version] = /\/v2\/x\/(manifests|blobs)\/(.+)$/.exec(decodeURIComponent(pathname)) ?? [];
      served.gets.push(request.method === "GET" ? `${kind} ${version}` : `${request.method} ${kind} ${version}`);
      const manifest = kind === "manifests" ? served.manifests.get(version!) : undefined;
      if (manifest !== undefined) {
        return new Response(manifest.body, {
          headers: { "content-type": manifest.type, "docker-content-digest": isDigest(version!) ? version : digestOf(manifest.body) },
        });
      }
      const blob = kind === "blobs" ? served.blobs.get(version!) : undefined;
      if (blob === undefined) return new Response(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, { status: 404 });
      return typeof blob === "function" ? blob(request) : new Response(blob);
    },
  });
  return { ...served, host: `127.0.0.1:${server.port}`, [Symbol.dispose]: () => void server.stop(true) };
}

describe.skipIf(skipped("root"))("registries that lie", () => {
  let lab: Lab;
  let registry: ReturnType<typeof serve>;
  beforeEach(() => {
    lab = createLab();
    registry = serve();
  });
  afterEach(() => {
    registry[Symbol.dispose]();
    lab[Symbol.dispose]();
  });

  const tar = tarOf([text("file", "content")]);
  const layer = gzipSync(tar);

  interface Lie {
    config?: object;
    diffIds?: string[];
    layer?: Partial<Descriptor>;
    layers?: number;
    bytes?: Uint8Array | ((request: Request) => Response | Promise<Response>);
    manifest?: object;
  }

  /** Puts up x:1, right but for what `lie` says; answers its manifest's descriptor. */
  function putUp(lie: Lie = {}, tag = "1", platform: object = { os: "linux", architecture: "amd64" }): Descriptor {
    const blob = typeof lie.bytes === "object" ? lie.bytes : layer;
    const count = lie.layers ?? 1;
    const config = JSON.stringify({
      ...platform,
      config: {},
      rootfs: { type: "layers", diff_ids: lie.diffIds ?? Array<string>(count).fill(digestOf(tar)) },
      ...lie.config,
    });
    const descriptor = { mediaType: mediaTypes.ociLayerGzip, digest: digestOf(blob), size: blob.length, ...lie.layer };
    registry.blobs.set(digestOf(config), new TextEncoder().encode(config));
    registry.blobs.set(descriptor.digest, lie.bytes ?? layer);
    const body = JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: { mediaType: mediaTypes.ociConfig, digest: digestOf(config), size: config.length },
      layers: Array.from({ length: count }, () => descriptor),
      ...lie.manifest,
    });
    for (const version of [tag, digestOf(body)]) registry.manifests.set(version, { type: mediaTypes.ociManifest, body });
    return { mediaType: mediaTypes.ociManifest, digest: digestOf(body), size: body.length };
  }

  test("the truth is pulled", async () => {
    putUp();
    const image = await lab.pull(`${registry.host}/x:1`);
    expect(readFileSync(join(lab.snapshots.path(image.layers[0]!), "file"), "utf8")).toBe("content");
  });

  const broken = Buffer.concat([layer.subarray(0, layer.length / 2)]);
  const rows: [what: string, lie: Lie, kind: string, told: RegExp][] = [
    ["other bytes than the digest says", { layer: { digest: digestOf("other") } }, "unavailable", /^filesystem layer verification failed for digest sha256:/],
    ["a shorter blob than announced", { layer: { size: layer.length + 1 } }, "unavailable", /the registry sends \d+ bytes for blob/],
    ["a longer blob than announced", { layer: { size: layer.length - 1 } }, "unavailable", /the registry sends \d+ bytes for blob/],
    ["a layer that isn't its diff id", { diffIds: [digestOf("another tar")] }, "invalidArgument", /the layer's tar has digest sha256:[0-9a-f]+, not sha256:/],
    ["half a gzip", { bytes: broken }, "invalidArgument", /./],
    ["no tar at all", { bytes: gzipSync("nonsense".repeat(1000)), diffIds: [digestOf("nonsense".repeat(1000))] }, "invalidArgument", /./],
    ["a layer that is missing", { bytes: () => new Response("", { status: 404 }) }, "notFound", /not found/],
    ["fewer diff ids than layers", { diffIds: [] }, "invalidArgument", /the image's config names 0 layers, its manifest 1/],
    ["diff ids that are paths", { diffIds: ["../../etc"] }, "invalidArgument", /bad diff_ids/],
    ["a config that is no object", { config: [] as never, manifest: { config: undefined } }, "unavailable", /the config of .*: bad digest/],
    ["another operating system", { config: { os: "windows" } }, "invalidArgument", /"windows": operating system is not supported/],
    [
      "a chart, not an image",
      { manifest: { config: { mediaType: "application/vnd.cncf.helm.config.v1+json", digest: digestOf("{}"), size: 2 } } },
      "invalidArgument",
      /is no container image: its config is "application\/vnd.cncf.helm/,
    ],
    [
      "an artifact with an empty config",
      {
        manifest: {
          artifactType: "application/vnd.example+type",
          config: { mediaType: "application/vnd.oci.empty.v1+json", digest: digestOf("{}"), size: 2 },
        },
      },
      "invalidArgument",
      /is no container image: it is an artifact of type "application\/vnd.example\+type"/,
    ],
    [
      "a layer of unknown type",
      { layer: { mediaType: "application/vnd.in-toto+json" } },
      "invalidArgument",
      /unsupported media type "application\/vnd.in-toto\+json"/,
    ],
    [
      "a huge config",
      { manifest: { config: { mediaType: mediaTypes.ociConfig, digest: digestOf("{}"), size: 1e12 } } },
      "unavailable",
      /the config of .* has 1000000000000 bytes/,
    ],
    ["more layers than can be mounted", { layers: 500 }, "invalidArgument", /has 500 layers: more than the 499 that overlayfs can mount/],
    ["schema 1", { manifest: { schemaVersion: 1 } }, "invalidArgument", /schema 1, which is no longer supported/],
    [
      "silence",
      { bytes: () => new Response(new ReadableStream({ pull: () => new Promise(() => {}) })) },
      "unavailable",
      /the registry sent nothing for 0.3 seconds/,
    ],
  ];
  for (const [what, lie, kind, told] of rows) {
    test(what, async () => {
      if (what === "silence") {
        // on a busy host the registry, which is in this process, is silent for as long without meaning it
        lab[Symbol.dispose]();
        lab = createLab({ stallTimeout: 300 });
      }
      putUp(lie);
      const error = await failure(lab.pull(`${registry.host}/x:1`));
      expect(error.text).toMatch(told);
      expect(error.kind).toBe(kind);
      expect(lab.rest()).toEqual({ blobs: 0, snapshots: 0, ingests: 0 });
      expect(await lab.images.list({ all: true })).toEqual([]);
    });
  }

  test("a layer that wants out of its root stays in it", async () => {
    const outside = join(lab.root, "escaped");
    const evil = tarOf([{ name: "link", type: "symlink", linkName: lab.root }, text("link/escaped", "x"), text(`../../../../../../../..${outside}`, "x")]);
    putUp({ bytes: gzipSync(evil), diffIds: [digestOf(evil)] });
    await failure(lab.pull(`${registry.host}/x:1`));
    expect(existsSync(outside)).toBe(false);
  });

  test("a pull that is cancelled stops and leaves nothing but what has come, for the next try", async () => {
    const controller = new AbortController();
    const { promise: started, resolve } = Promise.withResolvers<void>();
    putUp({
      layer: { digest: digestOf("never ends"), size: 1 << 30 },
      bytes: () =>
        new Response(
          new ReadableStream({
            pull: async (stream) => {
              stream.enqueue(new Uint8Array(65536));
              resolve();
              await Bun.sleep(5);
            },
          }),
        ),
    });
    const pulling = failure(lab.pull(`${registry.host}/x:1`, { signal: controller.signal }));
    await started;
    controller.abort();
    expect((await pulling).kind).toBe("cancelled");
    await lab.content.collectDownloads(0);
    expect(lab.rest()).toEqual({ blobs: 0, snapshots: 0, ingests: 0 });
  });

  test("one of two pulls of the same layer is cancelled: the other ends well, with one download", async () => {
    const controller = new AbortController();
    const gate = Promise.withResolvers<void>();
    const { promise: started, resolve } = Promise.withResolvers<void>();
    putUp({
      bytes: async () => {
        resolve();
        await gate.promise;
        return new Response(layer);
      },
      layer: { digest: digestOf(layer), size: layer.length },
    });
    const first = failure(lab.pull(`${registry.host}/x:1`, { signal: controller.signal }));
    const second = lab.pull(`${registry.host}/x:1`);
    await started;
    while (lab.messages.filter(({ status }) => status === "Pulling fs layer").length < 1) await Bun.sleep(1);
    await Bun.sleep(20);
    controller.abort();
    expect(await first).toMatchObject({ kind: "cancelled" });
    gate.resolve();
    expect((await second).layers).toHaveLength(1);
    expect(registry.gets.filter((line) => line === `blobs ${digestOf(layer)}`)).toHaveLength(1);
  });

  test("an index: this host's image, the one asked for, or none", async () => {
    const platforms = ["amd64", "arm64", "s390x"].map((architecture) => {
      const platform = { os: "linux", architecture };
      return { ...putUp({}, architecture, platform), platform };
    });
    const attestation = { ...putUp({}, "attestation"), platform: { os: "unknown", architecture: "unknown" } };
    const index = JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.dockerIndex, manifests: [attestation, ...platforms] });
    registry.manifests.set("all", { type: mediaTypes.dockerIndex, body: index });
    const reference = `${registry.host}/x:all`;
    expect((await lab.pull(reference, { platform: "linux/s390x" })).config.architecture).toBe("s390x");
    expect((await lab.pull(reference)).config.architecture).toBe(process.arch === "arm64" ? "arm64" : "amd64");
    expect(lab.messages.at(-2)).toEqual({ status: `Digest: ${digestOf(index)}` });
    expect(lab.images.resolve(reference).repoDigests).toEqual([`${registry.host}/x@${digestOf(index)}`]);
    expect(await failure(lab.pull(reference, { platform: "linux/riscv64" }))).toEqual({
      kind: "notFound",
      text: "no matching manifest for linux/riscv64 in the manifest list entries",
    });
    // A single image of another platform is pulled, with a warning, as Docker does.
    await lab.pull(`${registry.host}/x:arm64`, { platform: "linux/s390x" });
    expect(lab.messages.map(({ status }) => status)).toContain(
      `WARNING: image with reference ${registry.host}/x:arm64 was found but its platform (linux/arm64) does not match the specified platform (linux/s390x)`,
    );
  });

  test("platforms of one name are kept side by side", async () => {
    const platforms = ["amd64", "arm64", "s390x"].map((architecture) => {
      const platform = { os: "linux", architecture };
      return { ...putUp({}, architecture, platform), platform };
    });
    const index = JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: platforms });
    for (const version of ["all", digestOf(index)]) registry.manifests.set(version, { type: mediaTypes.ociIndex, body: index });
    const reference = `${registry.host}/x:all`;
    const digested = `${registry.host}/x@${digestOf(index)}`;
    const own = process.arch === "arm64" ? "arm64" : "amd64";
    const foreign = own === "arm64" ? "amd64" : "arm64";
    const of = (platform?: string, name = reference): string => lab.images.resolve(name, { platform }).config.architecture;
    const ids: Record<string, Digest> = {};

    // A foreign one alone is what the name means; this host's takes its place, and keeps it.
    ids[foreign] = (await lab.pull(reference, { platform: `linux/${foreign}` })).id;
    expect(of()).toBe(foreign);
    expect(await failure(Promise.try(() => of(`linux/${own}`)))).toEqual({
      kind: "notFound",
      text: `image with reference ${reference} was found but does not provide the specified platform (linux/${own}): it is for linux/${foreign}`,
    });
    ids[own] = (await lab.pull(reference)).id;
    ids["s390x"] = (await lab.pull(reference, { platform: "linux/s390x" })).id;
    expect([of(), of(`linux/${foreign}`), of("linux/s390x", digested), of(undefined, ids[foreign])]).toEqual([own, foreign, "s390x", foreign]);
    registry.gets.length = 0;
    expect((await lab.pull(reference, { platform: "linux/s390x" })).id).toBe(ids["s390x"]!);
    expect(registry.gets).toEqual(["HEAD manifests all"]);

    // Listed as one.
    const [listed, ...more] = await lab.images.list({ all: true });
    expect(more).toEqual([]);
    expect([listed!.id, listed!.repoTags, listed!.repoDigests]).toEqual([ids[own]!, [reference], [digested]]);
    expect(listed!.variants.map(({ id }) => id).sort()).toEqual([ids[foreign]!, ids["s390x"]!].sort());
    expect(lab.images.resolve(ids["s390x"]!).variantOf).toEqual({ tags: [reference], digests: [digested] });
    expect(lab.images.descriptor(listed!)).toEqual({ mediaType: mediaTypes.ociIndex, digest: digestOf(index), size: index.length });
    const summaries = await lab.images.manifests(listed!);
    expect(summaries.map(({ kind, available, platform, image }) => [kind, available, platform?.architecture, image?.id])).toEqual(
      ["amd64", "arm64", "s390x"].map((name) => ["image", true, name, ids[name]]),
    );
    expect((await lab.images.prune({})).deleted).toEqual([]);

    // A tag takes all of them along; names go without them.
    lab.images.tag(reference, "mine:1");
    expect(of("linux/s390x", "mine:1")).toBe("s390x");
    expect(await lab.images.remove(reference)).toEqual([{ Untagged: reference }, { Untagged: digested }]);
    expect(lab.images.resolve(ids["s390x"]!).variantOf.tags).toEqual(["mine:1"]);

    // One platform is taken away: by name with force, or by its id.
    const s390x = { os: "linux", architecture: "s390x" };
    expect((await failure(lab.images.remove("mine:1", { platforms: [s390x] }))).text).toStartWith("Content will be removed from all images");
    expect((await failure(lab.images.remove("mine:1", { platforms: [{ os: "linux", architecture: "mips" }], force: true }))).kind).toBe("notFound");
    expect((await lab.images.remove("mine:1", { platforms: [s390x], force: true }))[0]).toEqual({ Deleted: ids["s390x"]! });
    expect((await lab.images.remove(ids[foreign]!))[0]).toEqual({ Deleted: ids[foreign]! });
    expect([of(undefined, "mine:1"), (await lab.images.list({ all: true }))[0]!.variants]).toEqual([own, []]);
    expect((await lab.images.manifests(lab.images.resolve("mine:1"))).map(({ available }) => available)).toEqual(
      ["amd64", "arm64", "s390x"].map((name) => name === own),
    );

    // The last platform takes the name with it, and the last name its platforms.
    const ownPlatform = { os: "linux", architecture: own };
    expect((await lab.images.remove("mine:1", { platforms: [ownPlatform], force: true }))[0]).toEqual({ Untagged: "mine:1" });
    expect(lab.rest()).toEqual({ blobs: 0, snapshots: 0, ingests: 0 });
    for (const name of [own, foreign]) await lab.pull(`${registry.host}/x@${digestOf(index)}`, { platform: `linux/${name}` });
    expect((await lab.images.remove(digested)).filter(({ Deleted }) => Deleted === ids[own] || Deleted === ids[foreign])).toHaveLength(2);
    expect(lab.rest()).toEqual({ blobs: 0, snapshots: 0, ingests: 0 });
  });

  test("an index within an index is kept, listed, and goes with its images", async () => {
    const platforms = ["amd64", "arm64"].map((architecture) => {
      const platform = { os: "linux", architecture };
      return { ...putUp({}, architecture, platform), platform };
    });
    const put = (manifests: object[], ...versions: string[]): Descriptor => {
      const body = JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests });
      for (const version of [digestOf(body), ...versions]) registry.manifests.set(version, { type: mediaTypes.ociIndex, body });
      return { mediaType: mediaTypes.ociIndex, digest: digestOf(body), size: body.length };
    };
    const inner = put(platforms);
    const outer = put([inner], "nested");
    const reference = `${registry.host}/x:nested`;
    await lab.pull(reference, { platform: "linux/arm64" });
    await lab.images.restore();
    const image = lab.images.resolve(reference);
    expect(lab.images.descriptor(image)).toEqual(outer);
    expect((await lab.images.manifests(image)).map(({ descriptor, available }) => [descriptor.digest, available])).toEqual([
      [platforms[0]!.digest, false],
      [platforms[1]!.digest, true],
    ]);
    const saved = await new Response(await lab.images.save([reference])).bytes();
    await lab.images.remove(reference);
    expect(lab.rest()).toEqual({ blobs: 0, snapshots: 0, ingests: 0 });
    await lab.images.load(new Blob([saved as never]).stream(), { onProgress: () => {} });
    expect(lab.images.resolve(reference).id).toBe(image.id);
  });

  test("what is here already costs a HEAD, which registries don't count as a pull", async () => {
    putUp();
    const image = await lab.pull(`${registry.host}/x:1`);
    registry.gets.length = 0;
    expect((await lab.pull(`${registry.host}/x:1`)).id).toBe(image.id);
    expect(registry.gets).toEqual(["HEAD manifests 1"]);
    expect(lab.messages.at(-1)).toEqual({ status: `Status: Image is up to date for ${registry.host}/x:1` });
    putUp({ config: { author: "moved" } });
    expect((await lab.pull(`${registry.host}/x:1`)).id).not.toBe(image.id);
    expect(lab.messages.at(-1)).toEqual({ status: `Status: Downloaded newer image for ${registry.host}/x:1` });
    expect(lab.images.resolve(image.id).repoTags).toEqual([]);
  });

  test("an index that names itself", async () => {
    const body = JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType: mediaTypes.ociIndex, digest: digestOf("lie"), size: 1 }] });
    for (const version of ["1", digestOf("lie")]) registry.manifests.set(version, { type: mediaTypes.ociIndex, body });
    expect((await failure(lab.pull(`${registry.host}/x:1`))).text).toMatch(/manifest verification failed for digest/);
    expect(lab.rest()).toEqual({ blobs: 0, snapshots: 0, ingests: 0 });
  });
});
