import { readFileSync } from "node:fs";
import type { ContainersDeps } from "../containers/context.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { DaemonOptions } from "./options.ts";
import { storageSize } from "./storage-options.ts";

/** Settings of containers that say nothing. Those that a reload changes are read when they are needed. @throws EngineError invalidArgument */
export function containerDefaults(options: DaemonOptions): ContainersDeps["options"] {
  const { logDriver, logOpts, init, shutdownTimeout, seccompProfile, noNewPrivileges, hostGatewayIps } = options;
  const seccomp = seccompProfile === "" || seccompProfile === "unconfined" ? seccompProfile : readSeccompProfile(seccompProfile);
  return {
    ...{ logDriver, logOpts, init, shutdownTimeout, hostGatewayIps },
    storageSize: storageSize(options.storageOpts),
    ulimits: Object.values(options.defaultUlimits),
    securityOpts: [...(seccomp === "" ? [] : [`seccomp=${seccomp}`]), ...(noNewPrivileges ? ["no-new-privileges"] : [])],
    get cgroupnsMode() {
      return options.cgroupnsMode;
    },
    get shmSize() {
      return options.shmSize;
    },
    get ipcMode() {
      return options.ipcMode;
    },
    get stopTimeout() {
      return options.stopTimeout;
    },
  };
}

function readSeccompProfile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw invalidArgument(`opening seccomp profile (${path}) failed: ${messageOf(error)}`, error);
  }
}
