import { realpathSync } from "node:fs";
import { join } from "node:path";

/**
 * The only place that joins the engine's own paths.
 *
 *     <data-root>/                 (default /var/lib/berth; survives reboots)
 *       engine.db                  records
 *       lock                       flock: one engine a data root
 *       content/                   OCI image layout: blobs/sha256/<hex>, ingest/
 *       snapshots/<short id>/      the tree; .work/<short id> of writable ones
 *       volumes/<name>/_data
 *       containers/<id>/           container.log, hosts, hostname, resolv.conf, exit
 *       registry-secret            signs the tokens of the engine's registry
 *       cache/                     compiled seccomp filters
 *       tmp/
 *     <exec-root>/                 (default /run/berth; may vanish at boot)
 *       lock                       flock: one engine a run root
 *       berth.sock  berth.pid
 *       bin/crun                   read-only bind mount of the runtime
 *       bundles/<id>/              config.json, rootfs/ (overlay), pid, ctl, attach (conmon)
 *       exits/<id>                 exit codes as conmon writes them
 *       runtime/                   crun --root
 *       netns/<id>                 bind-mounted network namespaces
 */
export interface Paths {
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly database: string;
  /** One in each root. */
  readonly locks: readonly string[];
  readonly content: string;
  readonly registrySecret: string;
  readonly snapshots: string;
  readonly volumes: string;
  readonly containers: string;
  container(id: string): string;
  readonly cache: string;
  readonly tmp: string;
  readonly runtimeBinary: string;
  readonly bundles: string;
  bundle(id: string): string;
  readonly exits: string;
  readonly runtimeRoot: string;
  readonly namespaces: string;
}

export function enginePaths(dataRoot: string, execRoot: string): Paths {
  return {
    dataRoot,
    execRoot,
    database: join(dataRoot, "engine.db"),
    locks: [join(dataRoot, "lock"), join(execRoot, "lock")],
    content: join(dataRoot, "content"),
    registrySecret: join(dataRoot, "registry-secret"),
    snapshots: join(dataRoot, "snapshots"),
    volumes: join(dataRoot, "volumes"),
    containers: join(dataRoot, "containers"),
    container: (id) => join(dataRoot, "containers", id),
    cache: join(dataRoot, "cache"),
    tmp: join(dataRoot, "tmp"),
    runtimeBinary: join(execRoot, "bin", "crun"),
    bundles: join(execRoot, "bundles"),
    bundle: (id) => join(execRoot, "bundles", id),
    exits: join(execRoot, "exits"),
    runtimeRoot: join(execRoot, "runtime"),
    namespaces: join(execRoot, "netns"),
  };
}

/** What tells an engine's cgroups, table and bridge from those of others on the host. The data root is there. */
export function engineKey(dataRoot: string): string {
  return new Bun.CryptoHasher("sha256").update(realpathSync(dataRoot)).digest("hex").slice(0, 6);
}
