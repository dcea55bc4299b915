import { readFile } from "node:fs/promises";

/** Blanks and the like stand as `\040` in mountinfo. */
const unescape = (path: string): string => path.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** Where something is mounted in this process's namespace, oldest first. Asks no file system, so that a server which doesn't answer holds nobody up. */
export async function mountPoints(): Promise<string[]> {
  return pointsOf(await readFile("/proc/self/mountinfo", "utf8"));
}

/** Those of `directory` and below. Cheap where there are none, however many there are elsewhere. `directory` has no blanks. */
export async function mountPointsIn(directory: string): Promise<string[]> {
  const text = await readFile("/proc/self/mountinfo", "utf8");
  if (!text.includes(` ${directory}/`) && !text.includes(` ${directory} `)) return [];
  return pointsOf(text).filter((target) => target === directory || target.startsWith(`${directory}/`));
}

function pointsOf(mountinfo: string): string[] {
  return mountinfo.split("\n").flatMap((line) => {
    const target = line.split(" ", 5)[4];
    return target === undefined ? [] : [unescape(target)];
  });
}
