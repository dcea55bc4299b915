import { closeSync, openSync, readSync, writeFileSync } from "node:fs";
import { directoryOf, type CgroupHierarchy } from "./cgroup.ts";
import { closeFd, O } from "./fs.ts";
import { clearWakeup, createWakeup } from "./eventfd.ts";

/** A descriptor that becomes ready when a control group runs out of memory, or goes. */
export interface OomNotice extends Disposable {
  readonly fd: number;
  /** How its readiness shows. */
  readonly direction: "read" | "priority";
  /** Makes it unready until the next time. */
  clear(): void;
}

/**
 * On v1 an eventfd hung on memory.oom_control (cgroup-v1/memory.rst, section 9). On v2 memory.events itself, which poll(2) tells of by POLLPRI when
 * any of its counts has grown since it was last read. Undefined where the group has no such file: it is gone, or nothing counts its memory.
 */
export function openOomNotice(hierarchy: CgroupHierarchy, path: string): OomNotice | undefined {
  const directory = directoryOf(hierarchy, "memory", path);
  if (directory === undefined) return undefined;
  try {
    return hierarchy.version === 2 ? unifiedNotice(`${directory}/memory.events`) : legacyNotice(directory);
  } catch (error) {
    if (["ENOENT", "ENODEV"].includes((error as { code?: string }).code ?? "")) return undefined;
    throw error;
  }
}

function legacyNotice(directory: string): OomNotice {
  const control = openSync(`${directory}/memory.oom_control`, O.RDONLY | O.CLOEXEC);
  const fd = createWakeup();
  try {
    writeFileSync(`${directory}/cgroup.event_control`, `${fd} ${control}`);
  } catch (error) {
    closeFd(fd);
    throw error;
  } finally {
    closeSync(control);
  }
  return { fd, direction: "read", clear: () => clearWakeup(fd), [Symbol.dispose]: () => closeFd(fd) };
}

function unifiedNotice(file: string): OomNotice {
  const fd = openSync(file, O.RDONLY | O.CLOEXEC);
  const counts = Buffer.alloc(256);
  const clear = (): void => void readSync(fd, counts, 0, counts.length, 0);
  clear();
  return { fd, direction: "priority", clear, [Symbol.dispose]: () => closeFd(fd) };
}
