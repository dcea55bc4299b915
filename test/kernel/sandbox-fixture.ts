import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { enginePaths, type Paths } from "../../src/daemon/paths.ts";
import { mount, unmount } from "../../src/kernel/mount.ts";
import { silent } from "../../src/lib/log.ts";
import type { ContainerConfig, HostConfig } from "../../src/oci/container.ts";
import { startHands } from "../../src/daemon/hands.ts";
import { createRuntime } from "../../src/runtime/runtime.ts";
import type { Runtimes } from "../../src/runtime/types.ts";
import { createSandboxes } from "../../src/sandbox/sandboxes.ts";
import type { AttachHub, SandboxSpec, Sandboxes } from "../../src/sandbox/types.ts";
import { whenFree } from "../../src/snapshots/mounts.ts";
import type { SnapshotId } from "../../src/snapshots/types.ts";
import { unmountError } from "../../src/snapshots/unmount-error.ts";

export interface Fixture {
  root: string;
  key: string;
  paths: Paths;
  runtime: Runtimes;
  sandboxes: Sandboxes;
  spec(args: string[], options?: { config?: ContainerConfig; host?: HostConfig; more?: Partial<SandboxSpec> }): SandboxSpec;
  /** Stops what runs, unmounts, removes. */
  close(): Promise<void>;
}

const layer = "base" as SnapshotId;
const initLayer = "init" as SnapshotId;
const applets = "sh true false echo cat sleep ls stty id env pwd ps kill dd head mount touch mkdir hostname nproc trap wc grep unshare chroot seq".split(" ");

/**
 * Sandboxes over overlays made by hand from a layer with a static busybox: the layers above and below have tests of their own.
 * `at`: the root of an earlier fixture, as an engine finds it when it starts again.
 */
export async function createFixture(options: { at?: string; runtime?: string } = {}): Promise<Fixture> {
  const root = options.at ?? mkdtempSync(`${tmpdir()}/berth-sandbox-`);
  const key = root.slice(-6).toLowerCase();
  const paths = enginePaths(`${root}/data`, `${root}/run`);
  if (options.at === undefined) makeLayers(paths);
  let actives = readdirSync(paths.snapshots).length;
  const snapshots = {
    initLayer: async () => initLayer,
    mount: async ({ target, layers, upper }: { target: string; layers: readonly SnapshotId[]; upper?: SnapshotId }) => {
      const lowers = layers.toReversed().map((id) => `${paths.snapshots}/${id}/fs`);
      mount("overlay", target, "overlay", 0, `lowerdir=${lowers.join(":")},upperdir=${paths.snapshots}/${upper}/fs,workdir=${paths.snapshots}/${upper}/work`);
    },
    unmount: (target: string) =>
      whenFree(async () => {
        try {
          unmount(target);
        } catch (error) {
          throw unmountError(target, error);
        }
      }),
  };
  const nothing = (): never => {
    throw new Error("these containers have no network");
  };
  const networks = {
    createNamespace: nothing,
    nameNamespace: nothing,
    allocate: nothing,
    attach: nothing,
    release: () => {},
    removeNamespace: async () => {},
    endpointsOfContainer: () => [],
    resolvConf: () => "nameserver 192.0.2.1\n",
    renewedResolvConf: () => undefined,
  };
  const runtime = await createRuntime({
    paths,
    log: silent,
    options: {
      defaultRuntime: options.runtime ?? "",
      runtimes: options.runtime === "runc" ? { runc: { path: "runc" } } : {},
      cgroupParent: "",
      initPath: "",
      cpuRtPeriod: 0,
      cpuRtRuntime: 0,
      cgroupMounts: true,
      cdiSpecDirs: [],
      engineKey: `t${key}`,
    },
  });
  const hands = startHands();
  const sandboxes = createSandboxes({ paths, snapshots, networks, runtime, spawner: hands.spawner, log: silent });

  return {
    root,
    key,
    paths,
    runtime,
    sandboxes,
    spec: (args, { config = {}, host = {}, more = {} } = {}) => {
      const id = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");
      const active = `u${actives++}` as SnapshotId;
      mkdirSync(`${paths.snapshots}/${active}/fs`, { recursive: true });
      mkdirSync(`${paths.snapshots}/${active}/work`);
      mkdirSync(paths.container(id), { recursive: true });
      return {
        id,
        name: `test-${id.slice(0, 6)}`,
        directory: paths.container(id),
        layers: [layer],
        active,
        volatile: false,
        config,
        host,
        args,
        env: ["PATH=/bin"],
        mounts: [],
        network: { kind: "none" },
        logPath: `${paths.container(id)}/container.log`,
        ...more,
      };
    },
    close: async () => {
      await sandboxes.sweep(new Set());
      hands[Symbol.dispose]();
      await runtime.close();
      for (const each of runtime.cgroups.roots) if (existsSync(each + runtime.cgroupParent)) rmdir(each + runtime.cgroupParent);
      rmSync(root, { recursive: true, force: true });
    },
  };
}

function rmdir(path: string): void {
  Bun.spawnSync(["rmdir", path]);
}

function makeLayers(paths: Paths): void {
  for (const folder of [paths.bundles, paths.exits, paths.cache, paths.containers, paths.runtimeRoot, `${paths.snapshots}/${initLayer}/fs`])
    mkdirSync(folder, { recursive: true });
  const fs = `${paths.snapshots}/${layer}/fs`;
  for (const folder of ["bin", "etc", "dev", "proc", "sys", "tmp"]) mkdirSync(`${fs}/${folder}`, { recursive: true });
  cpSync("/bin/busybox", `${fs}/bin/busybox`);
  for (const applet of applets) symlinkSync("busybox", `${fs}/bin/${applet}`);
  writeFileSync(`${fs}/etc/passwd`, "root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1001::/home/anna:/bin/sh\n");
  writeFileSync(`${fs}/etc/group`, "root:x:0:\nanna:x:1001:\nwheel:x:10:root,anna\n");
  writeFileSync(`${fs}/bin/noexec`, "#!/bin/sh\n", { mode: 0o644 });
}

/** The lines of a k8s-file log without their heads. */
export function logText(spec: SandboxSpec): string {
  return readFileSync(spec.logPath ?? "", "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => line.split(" ").slice(3).join(" "))
    .join("\n");
}

/** Everything that comes until the end, or until `until` is seen. */
export function collect(io: AttachHub): { out(): string; err(): string; ended: Promise<void>; until(text: string): Promise<void> } {
  let [out, err] = ["", ""];
  const ended = Promise.withResolvers<void>();
  const waits = new Set<() => void>();
  const check = (): void => {
    for (const wait of waits) wait();
  };
  io.subscribe({
    stdout: (chunk) => {
      out += Buffer.from(chunk).toString();
      check();
    },
    stderr: (chunk) => {
      err += Buffer.from(chunk).toString();
      check();
    },
    end: () => ended.resolve(),
  });
  return {
    out: () => out,
    err: () => err,
    ended: ended.promise,
    until: (text) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const wait = (): void => {
        if ((out + err).includes(text)) resolve();
      };
      waits.add(wait);
      wait();
      return promise;
    },
  };
}
