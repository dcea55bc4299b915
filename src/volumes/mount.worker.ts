import { SysError } from "../kernel/ffi.ts";
import { firstNames } from "../kernel/fs.ts";
import { unmount } from "../kernel/mount.ts";
import { messageOf } from "../lib/errors.ts";
import { answerCalls } from "../lib/worker-calls.ts";
import { mountNow } from "./mount-call.ts";
import type { LocalMount } from "./options.ts";

/** Mounts and unmounts wait for disks and servers, and so does a look into what is mounted. */
export type MountOrder = { target: string; mount: LocalMount } | { target: string; unmount: true } | { target: string; look: true };

export interface MountAnswer {
  /** Some of the names in it: enough to tell whether there are others than one. */
  names?: string[];
  error?: { code: string; message: string };
}

answerCalls<MountOrder, MountAnswer>((order) => {
  try {
    if ("look" in order) return { names: firstNames(order.target, 2) };
    if ("mount" in order) mountNow(order.target, order.mount);
    else unmount(order.target, { lazy: true });
    return {};
  } catch (error) {
    return { error: { code: error instanceof SysError ? error.code : "", message: messageOf(error) } };
  }
});
