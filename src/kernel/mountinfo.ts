import { readFile } from "node:fs/promises";

/** Blanks, tabs, newlines and backslashes stand as `\040` and the like in mountinfo. */
export const unescapePath = (path: string): string => path.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
const escapePath = (path: string): string => path.replaceAll(/[ \t\n\\]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, "0")}`);

/** Where something is mounted in this process's namespace, oldest first. Asks no file system, so that a server which doesn't answer holds nobody up. */
export async function mountPoints(): Promise<string[]> {
  return pointsOf(await readFile("/proc/self/mountinfo", "utf8"));
}

/** Those of `directory` and below. Cheap where there are none, however many there are elsewhere. */
export async function mountPointsIn(directory: string): Promise<string[]> {
  const text = await readFile("/proc/self/mountinfo", "utf8");
  const written = escapePath(directory);
  if (!text.includes(` ${written}/`) && !text.includes(` ${written} `)) return [];
  return pointsOf(text).filter((target) => target === directory || target.startsWith(`${directory}/`));
}

function pointsOf(mountinfo: string): string[] {
  return mountinfo.split("\n").flatMap((line) => {
    const target = line.split(" ", 5)[4];
    return target === undefined ? [] : [unescapePath(target)];
  });
}
