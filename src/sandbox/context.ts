import type { Paths } from "../daemon/paths.ts";
import type { Readiness } from "../kernel/epoll.ts";
import type { NamespaceDoor } from "../kernel/namespace.ts";
import type { Logger } from "../lib/log.ts";
import type { Spawner } from "../lib/spawner.ts";
import type { Turns } from "../lib/turns.ts";
import type { Networks } from "../networks/types.ts";
import type { Runtimes } from "../runtime/types.ts";
import type { Snapshots } from "../snapshots/types.ts";
import type { Reaper } from "./reaper.ts";
import type { RunningSandbox } from "./types.ts";

export interface SandboxesDeps {
  paths: Paths;
  snapshots: Pick<Snapshots, "mount" | "unmount" | "initLayer">;
  networks: Pick<
    Networks,
    "createNamespace" | "nameNamespace" | "removeNamespace" | "allocate" | "attach" | "release" | "resolvConf" | "renewedResolvConf" | "endpointsOfContainer"
  >;
  runtime: Runtimes;
  spawner: Spawner;
  log: Logger;
}

export interface SandboxContext extends SandboxesDeps {
  readiness: Readiness;
  door: NamespaceDoor;
  reaper: Reaper;
  /** Before work that blocks for a millisecond or more: starts, cleanings, execs. */
  turns: Turns;
  /** Before an end is told, half a millisecond: it never waits for what starts. */
  ends: Turns;
  /** Before what it uses is read, a third of one: clients that watch all containers of a host ask about all at once. */
  samples: Turns;
  /** conmon's program. */
  monitorProgram: string;
  /** By id, until cleaned up. */
  running: Map<string, RunningSandbox>;
}
