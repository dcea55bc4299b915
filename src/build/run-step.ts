import { mkdir, rm } from "node:fs/promises";
import type { ImageRecord } from "../images/types.ts";
import { EngineError, invalidArgument } from "../lib/errors.ts";
import type { ContainerConfig, HostConfig } from "../oci/container.ts";
import type { ImageRunConfig } from "../oci/image.ts";
import type { RunningSandbox, SandboxMount, SandboxNetwork, SandboxSpec } from "../sandbox/types.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import type { RunOperation } from "./evaluate.ts";
import { checkCancelled, scratchDirectory, scratchFile, withSnapshot, type BuildSession } from "./session.ts";

const SIGKILL = 9;

export interface RunStep {
  /** Of the container. */
  id: string;
  parent: ImageRecord | undefined;
  config: ImageRunConfig;
  operation: RunOperation;
}

/** RUN: a sandbox on a new snapshot, its output streamed, the snapshot committed. @throws EngineError, its exitCode the command's */
export async function runStep(session: BuildSession, step: RunStep): Promise<SnapshotId> {
  const layers = step.parent?.layers ?? [];
  const directory = await scratchDirectory(session, "run");
  await mkdir(`${directory}/state`, { mode: 0o710 });
  try {
    return await withSnapshot(session, layers, async (active) => {
      const spec = await sandboxSpec(session, step, `${directory}/state`, active);
      const code = await runSandbox(session, spec);
      if (code !== 0) throw failed(step.operation.args, code);
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function failed(args: readonly string[], code: number): EngineError {
  return new EngineError("invalidArgument", `The command '${args.join(" ")}' returned a non-zero code: ${code}`, { exitCode: code });
}

async function sandboxSpec(session: BuildSession, { id, config, operation, parent }: RunStep, directory: string, active: SnapshotId): Promise<SandboxSpec> {
  const hostname = id.slice(0, 12);
  const container: ContainerConfig = {
    ...config,
    Hostname: hostname,
    Cmd: operation.args,
    Entrypoint: null,
    Healthcheck: { Test: ["NONE"] },
    AttachStdout: true,
    AttachStderr: true,
  };
  const mounts: SandboxMount[] = [];
  if (operation.script !== undefined) {
    const source = await scratchFile(session, "script", operation.script.content, 0o755);
    mounts.push({ type: "bind", source, destination: operation.script.path, readOnly: true, options: ["rprivate"] });
  }
  const host = hostConfig(session);
  return {
    id,
    name: `build-${hostname}`,
    directory,
    layers: parent?.layers ?? [],
    active,
    volatile: true,
    config: container,
    host,
    args: operation.args,
    env: operation.env.some((entry) => entry.startsWith("HOSTNAME=")) ? operation.env : [`HOSTNAME=${hostname}`, ...operation.env],
    mounts,
    ...(session.services.idMap !== undefined && { idMap: session.services.idMap }),
    network: network(id, hostname, host.NetworkMode ?? "", session.services.idMap !== undefined),
  };
}

function hostConfig({ options }: BuildSession): HostConfig {
  return {
    NetworkMode: options.networkMode === undefined || options.networkMode === "default" ? "bridge" : options.networkMode,
    Memory: options.memory,
    MemorySwap: options.memswap,
    CpuShares: options.cpuShares,
    CpusetCpus: options.cpuSetCpus,
    CpuPeriod: options.cpuPeriod,
    CpuQuota: options.cpuQuota,
    ShmSize: options.shmSize,
    Ulimits: options.ulimits,
    ExtraHosts: options.extraHosts,
    LogConfig: { Type: "none", Config: {} },
  };
}

function network(id: string, hostname: string, mode: string, hasOwnIds: boolean): SandboxNetwork {
  if (mode === "host" && hasOwnIds) throw invalidArgument("cannot share the host's network namespace when user namespaces are enabled");
  if (mode === "none" || mode === "host") return { kind: mode };
  if (mode.startsWith("container:")) throw invalidArgument(`network mode ${mode} can't be used for a build: use a network's name, host or none`);
  return { kind: "networks", connect: [{ containerId: id, containerName: `build-${hostname}`, hostname, network: mode, settings: {}, portBindings: {} }] };
}

/** Runs it to its end; a build that is cancelled kills it. Nothing of it stays. Resolves with its exit code. */
async function runSandbox(session: BuildSession, spec: SandboxSpec): Promise<number> {
  const { services, output, options } = session;
  const created = await services.sandboxes.create(spec, { attach: true, signal: options.signal });
  let running: RunningSandbox;
  const { promise: drained, resolve: end } = Promise.withResolvers<void>();
  const [stdout, stderr] = [new TextDecoder(), new TextDecoder()];
  // A client that reads slowly slows the command down, as under Docker, instead of filling our memory.
  const show = (write: (text: string) => Promise<void> | void, text: string): void => {
    const slow = text === "" ? undefined : write(text);
    if (slow === undefined) return;
    const hold = created.io.hold();
    void slow.then(() => hold[Symbol.dispose]());
  };
  using _subscription = created.io.subscribe({
    stdout: (chunk) => show(output.text, stdout.decode(chunk, { stream: true })),
    stderr: (chunk) => show(output.errorText, stderr.decode(chunk, { stream: true })),
    end,
  });
  try {
    running = await created.start();
  } catch (error) {
    await created[Symbol.asyncDispose]();
    throw error;
  }
  const kill = (): void => {
    try {
      running.signal(SIGKILL);
    } catch (error) {
      if (!(error instanceof EngineError && error.kind === "conflict")) throw error; // it is gone already
    }
  };
  options.signal.addEventListener("abort", kill, { once: true });
  if (options.signal.aborted) kill();
  try {
    const { exitCode, error } = await running.exited;
    await drained;
    checkCancelled(session);
    if (error !== undefined && error !== "") throw new EngineError("internal", `${failed(spec.args, exitCode).message}: ${error}`, { exitCode });
    return exitCode;
  } finally {
    options.signal.removeEventListener("abort", kill);
    await running.cleanup();
  }
}
