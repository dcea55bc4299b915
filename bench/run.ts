import { busyboxArchive } from "../test/busybox-image.ts";
import { call, memoryOf, runningEngine, startBerth, startPodman, type Target } from "./engine.ts";
import { formatTable, type Row } from "./table.ts";

/**
 * The headline figures of this checkout's engine, and of the engines that are installed, on the same work. Every row is taken in rounds over all
 * engines, so that whatever else the machine does hits all of them. About a minute with one engine.
 *
 *     npm run bench                              Berth, and Docker and Podman where they are
 *     npm run bench -- old=unix:///run/x.sock    with another engine beside them
 */
const image = "berth-bench";
const networks = ["none", "bridge", "host"] as const;
const rounds = 12;
const many = 50;

/** `work` in turn on each target, `count` times, after one round that doesn't count. */
async function measure(
  targets: readonly Target[],
  row: Pick<Row, "name" | "unit">,
  work: (target: Target) => Promise<number | undefined>,
  count: number,
): Promise<Row> {
  process.stderr.write(`${row.name} …\n`);
  const samples = new Map<string, number[]>();
  for (let round = count > 1 ? -1 : 0; round < count; round++) {
    for (const target of targets) {
      const value = await work(target);
      if (value === undefined || round < 0) continue;
      samples.set(target.name, [...(samples.get(target.name) ?? []), value]);
    }
  }
  return { ...row, samples };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

async function create({ socket }: Target, command: string[], network: string): Promise<string> {
  // Podman's forced removal waits 10 s for a first process that ignores SIGTERM; nobody has to here.
  const body = { Image: image, Cmd: command, StopSignal: "SIGKILL", HostConfig: { NetworkMode: network } };
  return ((await call(socket, "POST", "/containers/create", body)).json as { Id: string }).Id;
}

async function runOnce(target: Target, network: string): Promise<void> {
  const id = await create(target, ["true"], network);
  await call(target.socket, "POST", `/containers/${id}/start`);
  await call(target.socket, "POST", `/containers/${id}/wait`);
  await call(target.socket, "DELETE", `/containers/${id}`);
}

async function clientRun(command: readonly string[], network: string): Promise<void> {
  const child = Bun.spawn([...command, "run", "--rm", "--network", network, image, "true"], { stdio: ["ignore", "ignore", "inherit"] });
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")} run failed`);
}

async function startSleeper(target: Target): Promise<string> {
  const id = await create(target, ["sleep", "100000"], "bridge");
  await call(target.socket, "POST", `/containers/${id}/start`);
  return id;
}

/** `count` times `work`, ten at a time. */
async function inParallel<T>(count: number, work: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const index = next++;
      results[index] = await work(index);
    }
  };
  await Promise.all(Array.from({ length: 10 }, worker));
  return results;
}

async function removeAll(target: Target, ids: readonly string[]): Promise<void> {
  await inParallel(ids.length, (index) => call(target.socket, "DELETE", `/containers/${ids[index]}?force=1`));
}

async function execOnce({ socket }: Target, id: string): Promise<void> {
  const { json } = await call(socket, "POST", `/containers/${id}/exec`, { Cmd: ["true"], AttachStdout: true, AttachStderr: true });
  await call(socket, "POST", `/exec/${(json as { Id: string }).Id}/start`, { Detach: false, Tty: false });
}

async function runRows(targets: readonly Target[]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const network of networks) {
    const work = async (target: Target): Promise<number> => await timed(() => runOnce(target, network));
    rows.push(await measure(targets, { name: `create, start, wait, delete by API, ${network}`, unit: "ms" }, work, rounds));
  }
  const labels = new Set(targets.flatMap((target) => target.clients.map((client) => client.label)));
  for (const label of labels) {
    for (const network of networks) {
      const work = async (target: Target): Promise<number | undefined> => {
        const client = target.clients.find((each) => each.label === label);
        return client === undefined ? undefined : await timed(() => clientRun(client.command, network));
      };
      rows.push(await measure(targets, { name: `${label} run --rm, ${network}`, unit: "ms" }, work, rounds));
    }
  }
  return rows;
}

async function otherRows(targets: readonly Target[]): Promise<Row[]> {
  const rows: Row[] = [];
  const sleepers = new Map<Target, string>();
  for (const target of targets) sleepers.set(target, await startSleeper(target));
  try {
    const exec = async (target: Target): Promise<number> => await timed(() => execOnce(target, sleepers.get(target) as string));
    rows.push(await measure(targets, { name: "exec true by API", unit: "ms" }, exec, rounds * 2));
  } finally {
    for (const [target, id] of sleepers) await removeAll(target, [id]);
  }
  rows.push(await measure(targets, { name: "start of the engine to its first answer", unit: "ms" }, async (target) => await target.startUp?.(), 3));
  const memory = (target: Target): number | undefined => {
    const pids = target.processes();
    return pids.length === 0 ? undefined : memoryOf(pids);
  };
  rows.push(await measure(targets, { name: "memory, no containers", unit: "MB" }, async (target) => memory(target), 1));
  const busy = new Map<Target, number | undefined>();
  const start50 = async (target: Target): Promise<number> => {
    let ids: string[] = [];
    const time = await timed(async () => void (ids = await inParallel(many, () => startSleeper(target))));
    busy.set(target, memory(target));
    await removeAll(target, ids);
    return time;
  };
  rows.push(await measure(targets, { name: `${many} run -d, 10 at a time, by API, bridge`, unit: "ms" }, start50, 2));
  rows.push(await measure(targets, { name: `memory, ${many} sleeping containers`, unit: "MB" }, async (target) => busy.get(target), 1));
  return rows;
}

async function removeImage({ socket, name }: Target): Promise<void> {
  await call(socket, "DELETE", `/images/${image}?force=1`).catch((error: Error) => process.stderr.write(`${name}: ${error.message}\n`));
}

async function main(): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error("root is needed: run this again with sudo");
  const docker = Bun.which("docker");
  await using stack = new AsyncDisposableStack();
  const targets: Target[] = [stack.use(await startBerth(docker))];
  const named = process.argv.slice(2).map((argument) => /^([^=]+)=unix:\/\/(.+)$/.exec(argument) ?? [argument, "", ""]);
  for (const [argument, name = "", socket = ""] of named) {
    if (socket === "") throw new Error(`${argument}: want NAME=unix:///PATH`);
    const target = await runningEngine(name, socket, docker);
    if (target === undefined) throw new Error(`${name}: nothing answers on ${socket}`);
    targets.push(target);
  }
  for (const peer of [
    await runningEngine("Docker", "/var/run/docker.sock", docker, /^(dockerd|docker-proxy|containerd|containerd-shim.*)$/),
    await startPodman(docker),
  ])
    if (peer !== undefined) targets.push(stack.use(peer));

  const archive = busyboxArchive(image);
  for (const target of targets) {
    await call(target.socket, "POST", "/images/load?quiet=1", archive);
    stack.defer(() => removeImage(target));
  }
  const rows = [...(await runRows(targets)), ...(await otherRows(targets))];
  const names = targets.map((target) => target.name);
  process.stdout.write(`\nMedians; × is how many times more than ${names[0]}.\n\n${formatTable(names, rows)}\n`);
  if (names.length === 1) process.stdout.write("\nNeither Docker nor Podman was found here to compare with.\n");
}

await main();
