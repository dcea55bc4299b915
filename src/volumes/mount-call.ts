import { readFileSync, statSync } from "node:fs";
import { withLoopDevice } from "../kernel/loop.ts";
import { mount, MS, unmount } from "../kernel/mount.ts";
import { optionWords, type LocalMount } from "./options.ts";

const propagations = MS.PRIVATE | MS.SLAVE | MS.SHARED;

/** Mounts it at once, wholly or not at all: for Workers, and on the main thread for binds. @throws SysError */
export function mountNow(target: string, { device, type, flags, data }: LocalMount): void {
  const isBind = (flags & MS.BIND) !== 0;
  const isPropagated = (flags & propagations) !== 0;
  // the depth of a propagation isn't that of a bind
  const plain = flags & ~propagations & (isPropagated && !isBind ? ~MS.REC : ~0);
  const words = optionWords(data);
  if (!isBind && device.startsWith("/") && (words.includes("loop") || (isOnDisks(type) && isFile(device)))) {
    const rest = words.filter((word) => word !== "loop").join(",");
    withLoopDevice(device, (flags & MS.RDONLY) !== 0, (loop) => mount(loop, target, type, plain, rest));
  } else {
    mount(device, target, type, plain, data);
  }
  try {
    // a bind takes its other flags only in a second step (mount(2), "Creating a bind mount")
    if (isBind && (plain & ~(MS.BIND | MS.REC)) !== 0) mount("none", target, "none", plain | MS.REMOUNT);
    if (isPropagated) mount("none", target, "none", flags & (propagations | MS.REC));
  } catch (error) {
    unmount(target, { lazy: true });
    throw error;
  }
}

const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() === true;

/** The kernel wants a block device for it. */
const isOnDisks = (type: string): boolean => readFileSync("/proc/filesystems", "utf8").split("\n").includes(`\t${type}`);
