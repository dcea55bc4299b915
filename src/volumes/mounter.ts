import { readFileSync, statSync } from "node:fs";
import { SysError } from "../kernel/ffi.ts";
import { MS, unmount as unmountNow } from "../kernel/mount.ts";
import { internal, invalidArgument, messageOf, prefixed, unavailable } from "../lib/errors.ts";
import { createWorkerCalls, type WorkerCalls } from "../lib/worker-calls.ts";
import type { MountAnswer, MountOrder } from "./mount.worker.ts";
import { mountNow } from "./mount-call.ts";
import { withoutSecrets, type LocalMount } from "./options.ts";
import { withServer } from "./server-address.ts";

/** Mounts what volumes' options say. */
export interface Mounter {
  /** @throws EngineError invalidArgument where it can't be mounted, unavailable where a server doesn't answer */
  mount(target: string, what: LocalMount): Promise<void>;
  /** Goes at once from where it is, and away when nobody uses it any more. What isn't there is none. @throws EngineError */
  unmount(target: string, what: LocalMount): Promise<void>;
  /** A server that is there, or no server at all. @throws EngineError unavailable where it doesn't answer */
  checkAnswers(path: string): Promise<void>;
  /** Up to two of the names in a mounted directory. @throws EngineError unavailable */
  look(path: string): Promise<string[]>;
}

/** Servers that don't answer keep a Worker each; others wait behind that many. */
const mostWorkers = 4;
/** The kernel itself tries for minutes. */
const deadlineMs = 90_000;

type Member = WorkerCalls<MountOrder, MountAnswer>;

export function createMounter({ patienceMs = deadlineMs }: { patienceMs?: number } = {}): Mounter {
  const free: Member[] = [];
  const waiting: ((member: Member) => void)[] = [];
  let started = 0;

  const take = async (most: number): Promise<Member> => {
    const member = free.pop();
    if (member !== undefined) return member;
    if (started < most) {
      started++;
      return createWorkerCalls("volumes/mount.worker.ts");
    }
    const { promise, resolve } = Promise.withResolvers<Member>();
    waiting.push(resolve);
    return await promise;
  };
  const giveBack = (member: Member): void => {
    const next = waiting.shift();
    if (next !== undefined) next(member);
    else free.push(member);
  };
  const ask = (member: Member, order: MountOrder): Promise<MountAnswer> =>
    member.call(order).catch((error: unknown) => ({ error: { code: "", message: messageOf(error) } }));

  /** Undefined where that took too long. `late` is told what came then, before the Worker is free again. */
  const askWithin = async (order: MountOrder, late: (member: Member, answer: MountAnswer) => Promise<unknown>): Promise<MountAnswer | undefined> => {
    let isLate = false;
    const answer = take(mostWorkers).then(async (member) => {
      if (isLate) return void giveBack(member);
      const given = await ask(member, order);
      if (isLate) await late(member, given);
      giveBack(member);
      return given;
    });
    const { promise: patience, resolve } = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => {
      isLate = true;
      resolve(undefined);
    }, patienceMs);
    const first = await Promise.race([answer, patience]);
    clearTimeout(timer);
    return first;
  };
  const inTime = `no answer for ${patienceMs / 1000} seconds`;

  return {
    async mount(target, given) {
      const what = await withServer(given).catch((error: unknown) => {
        throw prefixed(`error while mounting volume '${target}': `, error);
      });
      if ((what.flags & MS.BIND) === 0) {
        // what is mounted when nobody waits for it any more is unmounted
        const answer = await askWithin({ target, mount: what }, async (member, given) => given.error ?? (await ask(member, { target, unmount: true })));
        if (answer === undefined) throw unavailable(failure(target, what, inTime));
        if (answer.error !== undefined) throw mountError(target, what, answer.error);
        return;
      }
      try {
        mountNow(target, what);
      } catch (error) {
        throw mountError(target, what, { code: error instanceof SysError ? error.code : "", message: messageOf(error) });
      }
    },
    async unmount(target, { flags }) {
      if ((flags & MS.BIND) !== 0) return void unmountNow(target, { lazy: true });
      // servers that don't answer don't keep the others from being given up
      const member = await take(mostWorkers + 1);
      const { error } = await ask(member, { target, unmount: true });
      giveBack(member);
      if (error !== undefined) throw internal(`error while unmounting volume '${target}': ${error.message}`);
    },
    async checkAnswers(path) {
      const answer = await askWithin({ target: path, look: true }, async () => {});
      if (answer === undefined) throw unavailable(`error while mounting volume '${path}': its server gives ${inTime}`);
    },
    async look(path) {
      const answer = await askWithin({ target: path, look: true }, async () => {});
      if (answer?.names !== undefined) return answer.names;
      throw unavailable(`looking into volume '${path}': ${answer?.error?.message ?? inTime}`);
    },
  };
}

/** Docker's words: `failed to mount local volume: mount DEVICE:TARGET, flags: 0x1000, data: …: REASON`. */
function failure(target: string, { device, flags, data }: LocalMount, reason: string): string {
  const details = `${flags === 0 ? "" : `, flags: 0x${flags.toString(16)}`}${data === "" ? "" : `, data: ${withoutSecrets(data)}`}`;
  return `error while mounting volume '${target}': failed to mount local volume: mount ${device}:${target}${details}: ${reason}`;
}

const ofTheServer = new Set(["ETIMEDOUT", "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN", "ENETDOWN", "ECONNRESET"]);

function mountError(target: string, what: LocalMount, { code, message }: { code: string; message: string }): Error {
  // `mount nfs on /path: no such device (ENODEV)`: what was tried is told already
  const text = code === "" ? message : message.replace(/^.*: /, "").replace(` (${code})`, "");
  const reason = failure(target, what, text + hint(what, code));
  return ofTheServer.has(code) ? unavailable(reason) : invalidArgument(reason);
}

/** What the kernel's word alone doesn't tell. */
function hint({ type, device, flags }: LocalMount, code: string): string {
  const isBind = (flags & MS.BIND) !== 0;
  if (code === "ENODEV" && !isBind && !isKnown(type)) return ` (this kernel has no file system ${JSON.stringify(type)})`;
  if (code === "ENOENT" && device.startsWith("/") && statSync(device, { throwIfNoEntry: false }) === undefined) return ` (there is no ${device} on the host)`;
  if (code === "EINVAL" && !isBind) return " (the kernel's log may tell which option it doesn't take)";
  return "";
}

function isKnown(type: string): boolean {
  return readFileSync("/proc/filesystems", "utf8")
    .split("\n")
    .some((line) => line.split("\t")[1] === type);
}
